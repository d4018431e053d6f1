// Elements and words. Whatever comes from the server goes in as text.

export const $ = (id) => document.getElementById(id);

// Control characters, and marks that turn the direction of what follows, would be invisible: they are written out.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
export const visible = (text) => text.replace(UNSEEN, (mark) => `\\u${mark.charCodeAt(0).toString(16).padStart(4, "0")}`);

// An element with attributes (onclick and the like are listeners) and contents; nothing, null and false are left out.
export function make(tag, props = {}, ...inside) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) {
      node.setAttribute(name, value === true ? "" : value);
    }
  }
  put(node, ...inside);
  return node;
}

// Replaces what is in an element.
export function put(node, ...inside) {
  const kept = inside.flat().filter((each) => each !== null && each !== undefined && each !== false && each !== "");
  node.replaceChildren(...kept.map((each) => (each instanceof Node ? each : visible(String(each)))));
}

// Sets an element's text, where it is another one: a screen reader repeats what is set.
export function say(node, text) {
  const shown = visible(text);
  if (node.textContent !== shown) node.textContent = shown;
}

export const button = (text, onclick, props = {}) => make("button", { type: "button", onclick, ...props }, text);
export const note = (text) => make("p", { class: "note" }, text);
export const problem = (text) => make("p", { class: "error" }, text);

// A table that scrolls by itself; `cards`: on a phone each row is a block of its own.
export function table(names, rows, props = {}) {
  const head = make("tr", {}, ...names.map((name) => make("th", { scope: "col" }, name)));
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": props.label },
    make("table", { class: props.cards && "cards" }, make("thead", {}, head), make("tbody", {}, ...rows)));
}
export const row = (...cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, ...[cell].flat())));

export const number = (value) => value.toLocaleString("en");
export function span(seconds) {
  if (seconds === null || seconds === undefined) return "unknown";
  if (seconds < 120) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}
export const rate = (value) => (value < 10 ? value.toFixed(1) : number(Math.round(value)));
export function moment(at) {
  if (at === null || at === undefined) return "unknown";
  return `${new Date(at * 1000).toISOString().replace("T", " ").slice(0, 19)} UTC`;
}
