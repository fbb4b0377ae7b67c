// What is shown at each address. A view is a list of panels; a panel loads its document and draws it.

import * as charts from "./charts.js";
import { get } from "./data.js";
import { at, h, link, table, tiles } from "./dom.js";
import { bytes, clock, count, micros, rate, span } from "./format.js";

const LIST = 50;

/** Reads a region's, edge's or node's name into a path. */
const part = (text) => encodeURIComponent(text);
const query = (fields) => new URLSearchParams(Object.entries(fields).filter(([, value]) => value)).toString();
const status = (text) => h("span", { class: `status ${text}` }, text);
const top = (numbers, many) => Object.entries(numbers ?? {}).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, many);

const chips = (numbers, toward) => {
  const shown = top(numbers, 24);
  if (!shown.length) return h("p", null, "None.");
  return h("ul", { class: "chips" }, shown.map(([name, many]) => h("li", null, link(toward(name), name || "(empty)"), ` ${count(many)}`)));
};

/** What is wrong, first and in words. */
const verdict = {
  id: "verdict", kind: "live", command: "starling status",
  draw: (overview) => {
    const severity = overview.findings[0]?.severity ?? "";
    return {
      className: `verdict ${severity}`,
      body: [
        h("h1", { id: "sentence", class: severity ? `${severity}-text` : "good-text" }, overview.sentence),
        overview.findings.length > 1 ? h("ul", { id: "findings" }, overview.findings.map((finding) =>
          h("li", { class: `${finding.severity}-text` },
            finding.region ? link({ region: finding.region, edge: finding.kind.startsWith("node") && finding.text.startsWith("Edge") ? finding.node : "" }, finding.text) : finding.text))) : null],
    };
  },
};

const sum = (regions, of) => {
  const values = regions.map(of).filter((value) => value !== undefined && value !== null);
  return values.length ? values.reduce((all, value) => all + value, 0) : null;
};

const population = (wanted) => ({
  id: "population", kind: "live", title: "Population", half: true, command: "starling members",
  draw: (overview) => {
    const members = overview.members?.filter((node) => !wanted || node.region === wanted) ?? [];
    const regions = overview.regions?.filter((region) => !wanted || region.name === wanted) ?? [];
    const nodes = (...those) => members.filter((node) => those.includes(node.status)).length;
    return { body: tiles([
      ["Agents", h("span", { id: "agents" }, count(sum(regions, (region) => region.agents) ?? 0))],
      ["Nodes expected", count(members.length - nodes("left"))],
      ["Joined", h("span", { id: "joined" }, count(nodes("up", "relayed")))],
      ["Suspect", count(nodes("suspect"))],
      ["Down", h("span", { id: "down" }, count(nodes("down", "banned")))],
      ["Left", count(nodes("left"))],
      wanted ? ["Distinct agents", count(regions[0]?.distinct), "estimated"] : ["Regions", count(regions.length)],
      ["Edges in figures", count(sum(regions, (region) => region.edges))],
    ]) };
  },
});

const golden = (wanted) => ({
  id: "golden", kind: "live", title: "Rates, errors, latency, saturation", half: true, command: "starling regions",
  draw: (overview) => {
    const regions = overview.regions?.filter((region) => !wanted || region.name === wanted) ?? [];
    const per = (name) => sum(regions, (region) => region.rates[name]);
    const worst = (name) => { const all = regions.map((region) => region.quantiles[name]).filter((value) => value !== undefined); return all.length ? Math.max(...all) : null; };
    const gauges = overview.gauges ?? {};
    const queued = ["control", "priority", "bulk", "agents"].map((lane) => gauges[`transport.${lane}_bytes`] ?? 0);
    return { body: tiles([
      ["Published", rate(per("Published"))],
      ["Delivered", rate(per("Delivered"))],
      ["Dropped", rate(per("Dropped"))],
      ["Delivery p50", micros(worst("delivery_us.p50"))],
      ["Delivery p99", micros(worst("delivery_us.p99"))],
      ["Oldest figure", span(regions.length ? Math.max(...regions.map((region) => region.age_ms)) : null)],
      ["Queued in lanes here", bytes(queued.reduce((a, b) => a + b, 0)), `control ${bytes(queued[0])}, priority ${bytes(queued[1])}, bulk ${bytes(queued[2])}`],
      ["Round trip to peers", micros(gauges["transport.rtt_median_us"]), `at most ${micros(gauges["transport.rtt_max_us"])}`],
      ["Packets lost on links", count(gauges["transport.lost_packets"]), `of ${count(gauges["transport.sent_packets"])}`],
      overview.convergence ? ["Replicas behind", count(overview.convergence.behind), `of ${overview.convergence.peers}`] : null,
      overview.quorum ? ["In reach", `${overview.quorum.reachable} of ${overview.quorum.roster}`, overview.quorum.status] : null,
      ["Memory of this process", bytes(gauges["resident_bytes"])],
    ]) };
  },
});

const globe = {
  id: "globe", kind: "live", title: "Regions", half: true, command: "starling regions",
  draw: (overview) => ({ body: overview.regions?.length ? charts.globe(overview.regions, overview.members) : h("p", null, "No region has a figure yet.") }),
};

/** The worst first: what has nodes down, then by p99. */
const regions = {
  id: "regions", kind: "live", title: "Regions, the worst first", half: true, command: "starling regions",
  draw: (overview) => {
    const down = (region) => (overview.members ?? []).filter((node) => node.region === region.name && ["down", "banned", "suspect"].includes(node.status)).length;
    const sorted = [...(overview.regions ?? [])].sort((a, b) => down(b) - down(a) || (b.quantiles["delivery_us.p99"] ?? 0) - (a.quantiles["delivery_us.p99"] ?? 0));
    return { body: table([
      ["Region", false, (region) => link({ region: region.name }, region.name)],
      ["Agents", true, (region) => count(region.agents)],
      ["Edges", true, (region) => count(region.edges)],
      ["Aggregators", true, (region) => count(region.aggregators)],
      ["Nodes wrong", true, (region) => count(down(region))],
      ["Published", true, (region) => rate(region.rates.Published)],
      ["p99", true, (region) => micros(region.quantiles["delivery_us.p99"])],
    ], sorted.slice(0, LIST), "No region has a figure yet.") };
  },
};

const history = {
  id: "history", title: "The last hour", every: 5000, load: () => get("/api/v1/history"),
  draw: ({ samples }) => ({ body: h("div", { class: "charts" },
    charts.curve(samples, "agents", "Agents", count), charts.curve(samples, "published", "Published", rate),
    charts.curve(samples, "delivered", "Delivered", rate), charts.curve(samples, "p99_us", "Delivery p99", micros),
    charts.curve(samples, "nodes_wrong", "Nodes wrong", count), charts.curve(samples, "dropped", "Dropped", rate)) }),
};

const budget = (wanted) => ({
  id: "budget", title: "The hot path's budget: ticks an entry, p50 / p99", every: 5000, half: true, command: "starling budget",
  load: () => get(`/api/v1/budget?${query({ region: wanted })}`),
  draw: (document_) => {
    const dense = document_.nodes.reduce((all, node) => all + node.dense_entries, 0);
    const over = document_.nodes.reduce((all, node) => all + node.overrun_entries, 0);
    return { body: [
      document_.stages.length ? charts.budget(document_) : h("p", null, "Nothing was timed yet."),
      h("p", null, `${document_.nodes_answered} of ${document_.nodes_known} nodes answered. `,
        dense ? `${((100 * over) / dense).toFixed(2)} % of ${count(dense)} entries of dense bundles took more than ${document_.budget_ticks} ticks of ${document_.tick_nanos} ns. ` : "No dense bundle has come yet. ",
        document_.resident_bytes ? `Their processes have ${bytes(document_.resident_bytes)}: ${bytes(document_.resident_bytes_per_agent)} an agent.` : ""),
    ] };
  },
});

const eventRow = (told) => h("li", { class: told.level === "warn" || told.level === "error" ? `${told.level}-text` : null },
  h("time", { datetime: new Date(told.at_ms).toISOString() }, clock(told.at_ms)), `${told.level}: ${told.text}`);

const events = (many, filter) => ({
  id: "events", title: "Recent events at this node", every: 3000, half: !filter, fresh: true,
  load: () => get(`/api/v1/events?${query({ limit: String(many), level: filter?.level || "info", q: filter?.text })}`),
  draw: (document_) => ({ body: document_.events.length ? h("ol", { class: "log", tabindex: "0", "aria-label": "Events, the newest first" }, document_.events.map(eventRow)) : h("p", null, "Nothing has happened.") }),
});

const edges = (region, cursor) => ({
  id: "edges", title: `Edges of ${region}`, every: 2000, load: () => get(`/api/v1/edges?${query({ region, cursor, limit: "200" })}`), command: "starling members",
  draw: (document_) => {
    const bad = (edge) => ["down", "banned"].includes(edge.status) * 2 + (edge.status === "suspect");
    const sorted = [...document_.edges].sort((a, b) => bad(b) - bad(a) || (b.quantiles["delivery_us.p99"] ?? 0) - (a.quantiles["delivery_us.p99"] ?? 0) || (a.name < b.name ? -1 : 1));
    const parts = sorted.filter((edge) => edge.agents || bad(edge)).map((edge) => ({
      name: edge.name, size: Math.max(edge.agents, 1), status: bad(edge) ? edge.status : "", note: `${count(edge.agents)} agents`,
      words: `${edge.name}: ${edge.agents} agents, ${edge.status}`, query: { region, edge: edge.name },
      parts: top(edge.states, 8).map(([name, many]) => ({ name, size: many, note: count(many), words: `${edge.name}, state ${name}: ${many} agents`, query: { region, edge: edge.name, state: name } })),
    }));
    return { body: [
      parts.length ? charts.icicle(parts, `Region ${region}: edges, and their agents by state`) : null,
      h("p", null, `${document_.shown} of ${document_.of} edges, the worst first.`),
      table([
        ["Edge", false, (edge) => link({ region, edge: edge.name }, edge.name)],
        ["Status", false, (edge) => status(edge.status)],
        ["Agents", true, (edge) => count(edge.agents)],
        ["Published", true, (edge) => count(edge.totals.Published)],
        ["Delivered", true, (edge) => count(edge.totals.Delivered)],
        ["Dropped", true, (edge) => count(edge.totals.Dropped)],
        ["p50", true, (edge) => micros(edge.quantiles["delivery_us.p50"])],
        ["p99", true, (edge) => micros(edge.quantiles["delivery_us.p99"])],
        ["Address", false, (edge) => edge.address],
      ], sorted, "This region has no edges."),
      document_.cursor ? link({ region, cursor: document_.cursor }, "More edges") : null,
    ] };
  },
});

const topology = {
  id: "topology", title: "Links of this node by round trip", every: 5000, half: true, load: () => get("/mesh/topology"), command: "starling topology",
  draw: (document_) => ({ body: [
    charts.links(document_.node ?? "this node", document_.distances),
    h("p", null, "Under 5 ms green, under 50 ms amber, else red. ", document_.strategy ? `${document_.measured} of ${document_.distances.length} measured; peers are chosen by ${document_.strategy}.` : ""),
    table([["Peer", false, (peer) => peer.name], ["Region", false, (peer) => peer.region], ["Round trip", true, (peer) => micros(peer.rtt_us || null)],
      ["Behind", true, (peer) => (peer.versions_behind === null ? "\u2013" : peer.versions_behind ? `${count(peer.versions_behind)}, ${span(peer.behind_ms)}` : "0")]],
    [...document_.distances].sort((a, b) => b.rtt_us - a.rtt_us).slice(0, 12), "No peers are measured."),
  ] }),
};

const labels = (region) => ({
  id: "labels", kind: "live", title: "Agents by tag and state", half: true, command: "starling agents",
  draw: (overview) => {
    const found = overview.regions?.find((one) => one.name === region);
    return { body: [h("h2", null, "Tags"), chips(found?.tags, (tag) => ({ region, tag })), h("h2", null, "States"), chips(found?.states, (state) => ({ region, state }))] };
  },
});

const filters = (now, go) => {
  const field = (key, title) => h("label", null, title, h("input", { name: key, value: now[key] ?? "", maxlength: "64", "data-key": `filter-${key}` }));
  return h("form", { class: "filters", onsubmit: (event) => {
    event.preventDefault();
    const wanted = Object.fromEntries(new FormData(event.target));
    go({ region: now.region, edge: now.edge, view: now.view, ...wanted });
  } }, field("tag", "Tag"), field("state", "State"), field("name", "Name contains"), h("button", null, "Filter"), link({ region: now.region, edge: now.edge, view: now.view }, "Clear"));
};

const agents = (now, go) => ({
  id: "agents-list", title: `Agents of ${now.edge || now.region}`,
  command: "starling agents",
  load: () => get(`/api/v1/agents?${query({ region: now.region, edge: now.edge, tag: now.tag, state: now.state, name: now.name, cursor: now.cursor, limit: String(LIST) })}`),
  draw: (document_) => ({ body: [
    filters(now, go),
    document_.silent.map((text) => h("p", { class: "error-text" }, text)),
    h("p", { id: "shown" }, `${document_.shown} shown of ${document_.of === null ? "an unknown number" : count(document_.of)}.`),
    table([
      ["Agent", false, (agent) => link({ agent: agent.id }, agent.id.slice(0, 12))],
      ["Name", false, (agent) => agent.name],
      ["Edge", false, (agent) => link({ region: agent.region, edge: agent.edge }, agent.edge)],
      ["State", false, (agent) => agent.state],
      ["Tags", false, (agent) => agent.tags.join(", ")],
      ["Subscriptions", true, (agent) => count(agent.subscriptions)],
    ], document_.agents, "No agent is like that."),
    document_.cursor ? link({ ...now, cursor: document_.cursor }, "Next page") : null,
  ] }),
});

const edge = (name) => ({
  id: "edge", title: `Edge ${name}`, every: 2000, load: () => get(`/api/v1/edges/${part(name)}`), command: "starling status --node ADDRESS",
  draw: (document_) => {
    const { edge: known, said } = document_;
    const counters = said?.counters ?? {};
    return { body: [
      document_.silent ? h("p", { class: "error-text" }, document_.silent) : null,
      tiles([
        ["Status", status(document_.status)],
        ["Agents", h("span", { id: "edge-agents" }, count(known?.agents))],
        ["Published", count(known?.totals.Published)],
        ["Delivered", count(known?.totals.Delivered)],
        ["Dropped", count(known?.totals.Dropped)],
        ["Delivery p99", micros(known?.quantiles["delivery_us.p99"])],
        ["Memory", bytes(counters.resident_bytes), said?.budget.resident_bytes_per_agent ? `${bytes(said.budget.resident_bytes_per_agent)} an agent` : ""],
        ["Bundles sealed", count(counters.sealed_bundles)],
        ["Sent again", count(counters.resent_bundles)],
        ["Invalid", count(counters.invalid_bundles)],
        ["Duplicates", count(counters.duplicate_bundles)],
        ["Publishers held", count(counters.held_publishers), span((counters.held_publisher_micros ?? 0) / 1000)],
      ]),
      said ? h("div", { class: "charts" },
        said.budget.stages.length ? h("div", null, h("h2", null, "Ticks an entry, p50 / p99"), charts.budget(said.budget)) : null,
        h("div", null, h("h2", null, "Links by round trip"), charts.links(name, said.topology.distances))) : null,
    ] };
  },
});

const agent = (id) => ({
  id: "agent", title: "Agent", every: 2000, load: () => get(`/api/v1/agents/${part(id)}`), command: `starling agents ${id}`,
  draw: (document_) => ({ body: [
    document_.silent ? h("p", { class: "error-text" }, document_.silent) : null,
    tiles([
      ["Id", h("code", null, document_.id)],
      ["Name", h("span", { id: "agent-name" }, document_.agent?.name || "\u2013")],
      ["State", document_.agent?.state || "\u2013"],
      ["Tags", document_.agent?.tags.join(", ") || "\u2013"],
      ["Edge", link({ region: document_.region, edge: document_.edge }, document_.edge)],
      ["Region", link({ region: document_.region }, document_.region)],
      ["Session", String(document_.session)],
      ["Subscriptions", count(document_.agent?.subscriptions)],
    ]),
  ] }),
});

const search = (text) => ({
  id: "found", title: `Search for \u201c${text}\u201d`, load: () => get(`/api/v1/search?${query({ q: text })}`),
  command: "starling members, agents, services",
  draw: (found) => {
    const list = (title, rows, row) => (rows.length ? [h("h2", null, title), h("ul", null, rows.map((one) => h("li", null, row(one))))] : null);
    const label = (key) => (one) => [link({ region: one.region, [key]: one.name }, one.name), ` ${count(one.agents)} agents in ${one.region}`];
    const lists = [
      found.agent ? list("Agent", [found.agent], (one) => [link({ agent: one.id }, one.id), ` at ${one.edge} in ${one.region}`]) : null,
      list("Regions", found.regions, (one) => [link({ region: one.name }, one.name), ` ${count(one.agents)} agents`]),
      list("Nodes", found.nodes, (one) => [link({ region: one.region, edge: one.roles.includes("edge") ? one.name : "" }, one.name), " ", status(one.status)]),
      list("Tags", found.tags, label("tag")),
      list("States", found.states, label("state")),
      list("Services", found.services, (one) => `${one.node} in ${one.region}, ${one.status}`),
    ].filter(Boolean);
    return { body: lists.length ? lists : h("p", null, "Nothing is called so.") };
  },
});

const eventFilters = (now, go) => ({
  id: "event-filters", kind: "still", title: "Which events",
  draw: () => ({ body: h("form", { class: "filters", onsubmit: (event) => { event.preventDefault(); go({ view: "events", ...Object.fromEntries(new FormData(event.target)) }); } },
    h("label", null, "Up to level", h("select", { name: "level" }, ["error", "warn", "info", "debug"].map((level) => h("option", { selected: level === (now.level || "info") }, level)))),
    h("label", null, "Text contains", h("input", { name: "text", value: now.text ?? "", maxlength: "64" })), h("button", null, "Filter")) }),
});

/** The panels of an address, the way there, and its title. */
export function view(now, role, own, go) {
  const home = [{ query: {}, name: role === "coordinator" ? "Mesh" : "Home" }];
  if (now.q) return { title: "Search", trail: home, panels: [search(now.q)] };
  if (now.agent) return { title: "Agent", trail: home, panels: [agent(now.agent)] };
  if (now.view === "events") return { title: "Events", trail: home, panels: [eventFilters(now, go), events(200, now)] };
  const region = now.region || (role === "coordinator" ? "" : own);
  const trail = [...home, ...(role === "coordinator" && region && (now.edge || now.tag || now.state || now.name) ? [{ query: { region }, name: region }] : [])];
  if (now.edge) return { title: now.edge, trail, panels: [verdict, edge(now.edge), agents({ ...now, region }, go)] };
  if (region && (now.tag || now.state || now.name || now.view === "agents")) return { title: `Agents of ${region}`, trail, panels: [agents({ ...now, region }, go)] };
  if (region) {
    const is_own = region === own && role !== "coordinator";
    return { title: `Region ${region}`, trail: role === "coordinator" ? home : [],
      panels: [verdict, population(region), golden(region), edges(region, now.cursor), labels(region), budget(region), ...(is_own ? [topology, events(20)] : []), history,
        { id: "to-agents", kind: "still", title: "Agents", draw: () => ({ body: h("p", null, link({ region, view: "agents" }, "All agents of this region")) }) }] };
  }
  return { title: "Mesh", trail: [], panels: [verdict, globe, regions, population(""), golden(""), budget(""), events(20), history] };
}

export { at };
