// One page: the address says what is shown, the stream keeps it true.

import { get, listen } from "./data.js";
import { at, h, link, replace } from "./dom.js";
import { clock } from "./format.js";
import { view } from "./views.js";

const STALE = 5000;
const main = document.getElementById("main");
const trail = document.getElementById("trail");
const live = document.getElementById("live");

let overview = null;
let panels = [];
/** Grows with each view, so that what an earlier one loaded late is not shown. */
let turn = 0;

const now = () => Object.fromEntries(new URLSearchParams(location.search));

function go(query) {
  history.pushState(null, "", at(query));
  draw();
  main.focus({ preventScroll: true });
  scrollTo(0, 0);
}

function foot(panel) {
  return h("p", { class: "foot" }, h("span", { class: "age" }, panel.as_of ? `as of ${clock(panel.as_of)}` : ""),
    panel.what.command ? h("span", null, "the same by ", h("code", null, panel.what.command)) : null);
}

function show(panel, document_) {
  panel.heard = Date.now();
  panel.as_of = document_?.as_of_ms ?? panel.heard;
  const text = JSON.stringify(document_, (key, value) => (key === "as_of_ms" ? undefined : value));
  if (text === panel.text) {
    panel.section.querySelector(".age").textContent = `as of ${clock(panel.as_of)}`;
    panel.section.classList.remove("stale");
    return;
  }
  panel.text = text;
  const drawn = panel.what.draw(document_);
  panel.section.className = `${panel.what.half ? "half" : ""} ${drawn.className ?? ""}`;
  replace(panel.section, panel.what.title ? h("h2", null, panel.what.title) : null, [drawn.body].flat(4), foot(panel));
}

function fail(panel, error) {
  panel.text = null;
  const old = panel.section.querySelector(".problem");
  const words = h("p", { class: "problem error-text", role: "alert" }, error.message);
  if (old) old.replaceWith(words);
  else panel.section.append(words);
}

async function load(panel, at_turn) {
  try {
    const document_ = await panel.what.load();
    if (at_turn === turn) show(panel, document_);
  } catch (error) {
    if (at_turn === turn) fail(panel, error);
  }
  if (at_turn === turn && panel.what.every) {
    panel.timer = setTimeout(() => load(panel, at_turn), document.hidden ? panel.what.every * 10 : panel.what.every);
  }
}

function draw() {
  turn += 1;
  panels.forEach((panel) => clearTimeout(panel.timer));
  const query = now();
  const shown = view(query, overview?.node.role ?? "coordinator", overview?.node.region ?? "", go);
  document.title = `${shown.title} \u2013 Starling`;
  document.getElementById("q").value = query.q ?? "";
  trail.replaceChildren(...shown.trail.map((step) => link(step.query, step.name)), ...(shown.trail.length ? [document.createTextNode(shown.title)] : []));
  panels = shown.panels.map((what) => ({ what, section: h("section", { id: `panel-${what.id}`, class: what.half ? "half" : null },
    what.title ? h("h2", null, what.title) : null, h("p", null, "Loading."), h("p", { class: "foot" }, h("span", { class: "age" }))) }));
  main.replaceChildren(...panels.map((panel) => panel.section));
  for (const panel of panels) {
    if (panel.what.kind === "still") show(panel, null);
    else if (panel.what.kind === "live") overview && show(panel, overview);
    else load(panel, turn);
  }
}

function told(fresh) {
  const is_first = !overview;
  const before = overview?.node;
  overview = fresh;
  document.getElementById("mesh").textContent = fresh.mesh ?? "Starling";
  document.getElementById("where").textContent = `${fresh.node.name}, ${fresh.node.role} of ${fresh.node.region}`;
  if (is_first || before.name !== fresh.node.name) draw();
  else panels.filter((panel) => panel.what.kind === "live").forEach((panel) => show(panel, fresh));
}

const reload = async () => {
  try { told(await get("/api/v1/overview")); } catch (error) { live.textContent = error.message; live.className = "off"; }
};

document.addEventListener("click", (event) => {
  const anchor = event.target.closest?.("a[data-link]");
  if (!anchor || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(Object.fromEntries(new URL(anchor.getAttribute("href"), location.origin).searchParams));
});
document.getElementById("search").addEventListener("submit", (event) => {
  event.preventDefault();
  go({ q: document.getElementById("q").value.trim() });
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !["INPUT", "SELECT", "TEXTAREA"].includes(document.activeElement.tagName)) {
    event.preventDefault();
    document.getElementById("q").focus();
  }
});
addEventListener("popstate", draw);

setInterval(() => {
  for (const panel of panels) {
    const bound = Math.max(STALE, 2 * (panel.what.every ?? 0));
    const is_kept = panel.what.kind === "live" || panel.what.every;
    panel.section.classList.toggle("stale", Boolean(is_kept && panel.heard && Date.now() - panel.heard > bound));
  }
}, 1000);

await reload();
if (!overview) draw();
listen({
  overview: told,
  event: () => panels.filter((panel) => panel.what.fresh).forEach((panel) => { clearTimeout(panel.timer); load(panel, turn); }),
  resync: () => { reload(); panels.filter((panel) => panel.what.load).forEach((panel) => { clearTimeout(panel.timer); load(panel, turn); }); },
  state: (is_on) => { live.textContent = is_on ? "live" : "not connected: figures may be old"; live.className = is_on ? "on" : "off"; },
});
