// Elements are made here and nowhere else. What others say of themselves becomes text, never markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(4)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

/** An HTML element. */
export const h = (tag, properties, ...children) => fill(document.createElement(tag), properties, children);

/** An SVG element. */
export const s = (tag, properties, ...children) => fill(document.createElementNS(SVG, tag), properties, children);

/** The address of a view of this page. */
export function at(query) {
  const parts = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) if (value) parts.set(key, value);
  const text = parts.toString();
  return text ? `/?${text}` : "/";
}

/** A link to a view of this page; `key` keeps the focus on it when the view is drawn anew. */
export const link = (query, ...children) =>
  h("a", { href: at(query), "data-link": true, "data-key": at(query) }, ...children);

/** A table; columns are [title, is_number, cell of a row]. */
export function table(columns, rows, empty) {
  if (!rows.length) return h("p", null, empty);
  const kind = (number) => (number ? { class: "number" } : null);
  return h("div", { class: "wide" }, h("table", null,
    h("thead", null, h("tr", null, columns.map(([title, number]) => h("th", { ...kind(number), scope: "col" }, title)))),
    h("tbody", null, rows.map((row) => h("tr", null, columns.map(([, number, cell]) => h("td", kind(number), cell(row))))))));
}

/** Figures with their names. */
export const tiles = (pairs) =>
  h("dl", { class: "tiles" }, pairs.filter(Boolean).map(([name, value, note]) =>
    h("div", null, h("dt", null, name), h("dd", null, value, note ? h("small", null, ` ${note}`) : null))));

/** Replaces what is in an element; the focus stays where it was. */
export function replace(element, ...children) {
  const active = document.activeElement;
  const key = element.contains(active) ? active.dataset?.key : null;
  const scrolled = [...element.querySelectorAll(".wide, .log")].map((one) => [one.scrollLeft, one.scrollTop]);
  element.replaceChildren(...children.flat(4).filter((child) => child instanceof Node));
  [...element.querySelectorAll(".wide, .log")].forEach((one, index) => {
    if (scrolled[index]) [one.scrollLeft, one.scrollTop] = scrolled[index];
  });
  if (key) [...element.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key)?.focus({ preventScroll: true });
}
