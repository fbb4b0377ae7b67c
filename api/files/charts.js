// Drawings. Each has a few hundred marks at the most, and says in words what it shows.

import { at, s } from "./dom.js";

const MARKS_MAX = 200;

/** One number over the last hour. */
export function curve(samples, key, title, show) {
  const [width, height, left, bottom] = [320, 110, 4, 18];
  const points = samples.filter((sample) => sample[key] !== null && sample[key] !== undefined);
  const values = points.map((sample) => sample[key]);
  const last = values.at(-1);
  const label = `${title}: ${last === undefined ? "no values yet" : `${show(last)} now, at most ${show(Math.max(...values))} in the last hour`}`;
  const drawing = s("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    s("text", { x: left, y: 14 }, title),
    s("text", { x: width - 4, y: 14, "text-anchor": "end" }, last === undefined ? "\u2013" : show(last)));
  if (points.length > 1) {
    const [first, end] = [points[0].at_ms, points.at(-1).at_ms];
    const top = Math.max(...values, 1e-9);
    const x = (ms) => left + ((width - 2 * left) * (ms - first)) / Math.max(end - first, 1);
    const y = (value) => height - bottom - ((height - bottom - 24) * value) / top;
    const step = Math.max(1, Math.ceil(points.length / MARKS_MAX));
    const some = points.filter((_, index) => index % step === 0 || index === points.length - 1);
    const path = some.map((sample, index) => `${index ? "L" : "M"}${x(sample.at_ms).toFixed(1)},${y(sample[key]).toFixed(1)}`).join("");
    drawing.append(
      s("path", { class: "area", d: `${path}L${x(end)},${height - bottom}L${x(first)},${height - bottom}Z` }),
      s("path", { class: "curve", d: path }));
    const minutes = Math.round((end - first) / 60000);
    drawing.append(s("text", { x: left, y: height - 4, class: "quiet" }, minutes ? `${minutes} min ago` : "just now"),
      s("text", { x: width - 4, y: height - 4, class: "quiet", "text-anchor": "end" }, "now"));
  }
  drawing.append(s("path", { class: "axis", d: `M${left},${height - bottom}H${width - left}` }));
  return drawing;
}

/** The worst status of some nodes. */
const worst = (nodes) =>
  nodes.some((node) => ["down", "banned"].includes(node.status)) ? "down"
    : nodes.some((node) => node.status === "suspect") ? "suspect" : "";

/** The mesh as a globe whose regions lead on. Where regions lie on it means nothing. */
export function globe(regions, members) {
  const size = 300;
  const centre = size / 2;
  const radius = 120;
  const drawing = s("svg", { class: "small", viewBox: `0 0 ${size} ${size}`, role: "group", "aria-label": `Globe with ${regions.length} regions` },
    s("circle", { class: "sphere", cx: centre, cy: centre, r: radius }),
    [40, 80].map((r) => s("ellipse", { class: "axis", cx: centre, cy: centre, rx: r, ry: radius })),
    [-60, 0, 60].map((dy) => s("ellipse", { class: "axis", cx: centre, cy: centre + dy, rx: Math.sqrt(radius ** 2 - dy ** 2), ry: 12 })));
  const most = Math.max(1, ...regions.map((region) => region.agents));
  const places = regions.slice(0, 64).map((region, index) => {
    const turn = index * 2.39996;
    const out = regions.length === 1 ? 0 : radius * 0.75 * Math.sqrt((index + 0.6) / Math.min(regions.length, 64));
    return { region, x: centre + out * Math.cos(turn), y: centre + out * Math.sin(turn) };
  });
  places.forEach((one, index) => {
    const other = places[(index + 1) % places.length];
    if (index + 1 < places.length) drawing.append(s("line", { class: "axis", x1: one.x, y1: one.y, x2: other.x, y2: other.y }));
  });
  for (const { region, x, y } of places) {
    const status = worst(members.filter((node) => node.region === region.name));
    const words = `Region ${region.name}: ${region.agents} agents, ${region.edges} edges${status ? `, a node is ${status}` : ""}`;
    drawing.append(s("a", { href: at({ region: region.name }), "data-link": true, "data-key": `globe-${region.name}`, "aria-label": words },
      s("title", null, words),
      s("circle", { class: `dot ${status}`, cx: x, cy: y, r: 7 + 13 * Math.sqrt(region.agents / most) }),
      s("text", { x, y: y - 24, "text-anchor": "middle" }, region.name.slice(0, 24))));
  }
  return drawing;
}

/** Shares of a whole as an icicle: the whole, its parts, and their parts. */
export function icicle(parts, title) {
  const [width, row] = [1100, 44];
  const total = Math.max(1, parts.reduce((sum, part) => sum + part.size, 0));
  const shown = parts.slice(0, 40);
  const inner = Math.max(1, Math.floor((MARKS_MAX - shown.length) / Math.max(shown.length, 1)));
  const drawing = s("svg", { viewBox: `0 0 ${width} ${row * 3}`, role: "group", "aria-label": title });
  const cell = (part, x, y, wide) => {
    const body = [s("title", null, part.words), s("rect", { class: `cell ${part.status ?? ""}`, x, y, width: Math.max(wide, 1), height: row - 2 }),
      wide > 40 ? s("text", { x: x + 6, y: y + 18 }, part.name.slice(0, Math.floor(wide / 7))) : null,
      wide > 60 ? s("text", { x: x + 6, y: y + 34, class: "quiet" }, part.note) : null];
    return part.query
      ? s("a", { href: at(part.query), "data-link": true, "data-key": `icicle-${at(part.query)}`, "aria-label": part.words }, body)
      : s("g", null, body);
  };
  drawing.append(cell({ name: title, note: "", words: title }, 0, 0, width));
  let x = 0;
  for (const part of shown) {
    const wide = Math.max((width * part.size) / total, width / 60);
    drawing.append(cell(part, x, row, Math.min(wide, width - x)));
    const inside = Math.max(1, part.parts.reduce((sum, one) => sum + one.size, 0));
    let from = x;
    for (const one of part.parts.slice(0, inner)) {
      const share = (wide * one.size) / inside;
      if (share >= 1) drawing.append(cell(one, from, row * 2, Math.min(share, width - from)));
      from += share;
    }
    x += wide;
    if (x >= width) break;
  }
  return drawing;
}

/** A node's links, coloured by their round trips. */
export function links(node, distances) {
  const [width, height] = [420, 300];
  const shown = distances.slice(0, 60);
  const drawing = s("svg", { class: "small", viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `${node} and ${distances.length} links, coloured by round trip` });
  const kind = (rtt) => (!rtt ? "unknown" : rtt < 5000 ? "near" : rtt < 50000 ? "middle" : "far");
  shown.forEach((peer, index) => {
    const turn = (2 * Math.PI * index) / shown.length - Math.PI / 2;
    const [x, y] = [width / 2 + 140 * Math.cos(turn), height / 2 + 115 * Math.sin(turn)];
    const words = `${peer.name}: ${peer.rtt_us ? `${(peer.rtt_us / 1000).toFixed(2)} ms` : "not measured"}`;
    drawing.append(s("line", { class: `link ${kind(peer.rtt_us)}`, x1: width / 2, y1: height / 2, x2: x, y2: y }, s("title", null, words)),
      s("circle", { class: "dot", cx: x, cy: y, r: 5 }, s("title", null, words)));
    if (shown.length <= 16) {
      drawing.append(s("text", { x, y: y + (Math.sin(turn) < 0 ? -9 : 18), "text-anchor": "middle" }, peer.name.slice(0, 22)));
    }
  });
  drawing.append(s("circle", { class: "dot", cx: width / 2, cy: height / 2, r: 9 }),
    s("text", { x: width / 2, y: height / 2 + 24, "text-anchor": "middle" }, node.slice(0, 30)));
  return drawing;
}

/** What stages of the hot path take at p99, against the budget. */
export function budget(document_) {
  const rows = document_.stages.filter((stage) => stage.stage !== "sparse" && stage.stage !== "total");
  const [width, row, left] = [560, 22, 110];
  const top = Math.max(document_.budget_ticks * 1.25, ...rows.map((stage) => Math.min(stage.p99_ticks, document_.budget_ticks * 4)));
  const x = (ticks) => left + ((width - left - 90) * Math.min(ticks, top)) / top;
  const height = row * rows.length + 24;
  return s("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": rows.map((stage) => `${stage.stage} ${stage.p99_ticks} ticks`).join(", ") },
    rows.map((stage, index) => [
      s("text", { x: 0, y: index * row + 15 }, stage.stage),
      s("rect", { class: stage.p99_ticks > document_.budget_ticks && stage.stage === "dense" ? "over" : "bar", x: left, y: index * row + 4, width: Math.max(1, x(stage.p99_ticks) - left), height: row - 8 }),
      s("text", { x: x(stage.p99_ticks) + 6, y: index * row + 15, class: "quiet" }, `${stage.p50_ticks} / ${stage.p99_ticks}`)]),
    s("line", { class: "limit", x1: x(document_.budget_ticks), x2: x(document_.budget_ticks), y1: 0, y2: row * rows.length }),
    s("text", { x: x(document_.budget_ticks), y: height - 6, "text-anchor": "middle", class: "quiet" }, `budget ${document_.budget_ticks}`));
}
