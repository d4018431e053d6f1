// What the page has seen of each view since it was opened, and lines drawn of it.
import { span } from "/static/text.js";

const KEPT = 180; // samples of a view, one a second
const LEAST = 30; // samples that fill the width of a line
const WEIGHT = 0.4; // of the newest rate in the one that is shown

const samples = new Map(); // view -> { lags, read, at, rate }

export function take(status) {
  for (const view of status.views) {
    const kept = samples.get(view.view) ?? { lags: [], read: view.counts.read, at: status.at, rate: 0 };
    kept.lags.push(view.lag);
    if (kept.lags.length > KEPT) kept.lags.shift();
    const passed = status.at - kept.at;
    if (passed > 0) {
      const rate = Math.max(0, view.counts.read - kept.read) / passed;
      Object.assign(kept, { rate: kept.rate * (1 - WEIGHT) + rate * WEIGHT, read: view.counts.read, at: status.at });
    }
    samples.set(view.view, kept);
  }
}

export const rateOf = (view) => samples.get(view)?.rate ?? 0;

const drawn = (tag, props) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(props)) node.setAttribute(name, value);
  return node;
};

// The lag of the last minutes as a line, in place of what was in the element. Where it is not known the line has a hole.
export function trend(cell, view) {
  const lags = samples.get(view)?.lags ?? [];
  const top = Math.max(1, ...lags.map((lag) => lag ?? 0));
  const width = Math.max(LEAST, lags.length);
  let path = "", pen = "M";
  lags.forEach((lag, index) => {
    if (lag === null) { pen = "M"; return; }
    path += `${pen}${((width - lags.length + index) / (width - 1) * 100).toFixed(1)} ${(28 - lag / top * 26).toFixed(1)}`;
    pen = "L";
  });
  let line = cell.querySelector("path");
  if (!line) {
    const svg = drawn("svg", { class: "trend", viewBox: "0 0 100 30", preserveAspectRatio: "none", role: "img" });
    line = drawn("path", { "vector-effect": "non-scaling-stroke" });
    svg.append(line);
    cell.replaceChildren(svg);
  }
  const words = path ? `lag at most ${span(top)} in the last minutes` : "lag unknown";
  if (line.parentNode.getAttribute("aria-label") !== words) line.parentNode.setAttribute("aria-label", words);
  line.setAttribute("d", path);
}
