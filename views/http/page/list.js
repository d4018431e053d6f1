// All views, those in trouble first.
import { $, button, make, number, put, rate, say, span } from "/static/text.js";
import { rateOf, trend } from "/static/samples.js";

const KINDS = ["state-cell", "number", "trend", "number", "number", "number", "number", "number"];

export const brief = (view) => (view.problem.startsWith(`${view.state}: `) ? view.problem.slice(view.state.length + 2) : view.problem);
export const kindOf = (view) => (!view.ok ? "bad" : view.state === "following" ? "good" : "warn");

const heard = (view) => [view.view, view.sink, view.source, view.state, view.ok ? "" : "attention"].join(" ").toLowerCase();

// Draws the table; `show` is called with the name of a view that is chosen.
export function drawList(told, show) {
  const wanted = $("filter").value.trim().toLowerCase();
  const missing = told.missing.map((name) => ({ view: name, state: "never started", ok: false, problem: "dynaview run starts it" }));
  const all = [...told.views, ...missing];
  const chosen = all.filter((view) => !wanted || heard(view).includes(wanted))
    .sort((one, other) => Number(one.ok) - Number(other.ok) || one.view.localeCompare(other.view));
  const body = $("rows");
  const known = new Map([...body.children].map((each) => [each.dataset.view, each]));
  chosen.forEach((view, index) => {
    const line = known.get(view.view) ?? newRow(view, show);
    known.delete(view.view);
    if (body.children[index] !== line) body.insertBefore(line, body.children[index] ?? null);
    fill(line, view, told.at);
  });
  for (const line of known.values()) line.remove();
  $("empty").hidden = Boolean(all.length);
  $("nothing").hidden = Boolean(chosen.length) || !all.length;
  $("table").hidden = !chosen.length;
}

function newRow(view, show) {
  const line = make("tr", { "data-view": view.view });
  const name = button(view.view, () => show(view.view), { class: "name" });
  line.append(make("th", { scope: "row" }, name, make("span", { class: "sink" })));
  for (const kind of KINDS) line.append(make("td", { class: kind }));
  return line;
}

function fill(line, view, now) {
  const cells = line.children;
  const shown = `${view.state}|${view.problem}`;
  if (line.dataset.shown !== shown) {
    line.dataset.shown = shown;
    put(cells[1], make("span", { class: `state ${kindOf(view)}` }, view.state),
      view.problem ? make("span", { class: "problem" }, brief(view)) : null);
  }
  if (!view.counts) return; // it was never started
  say(line.querySelector(".sink"), `${view.source} → ${view.sink}`);
  say(cells[2], span(view.lag));
  trend(cells[3], view.view);
  say(cells[4], rate(rateOf(view.view)));
  say(cells[5], number(view.counts.applied));
  say(cells[6], number(view.dead_letters));
  say(cells[7], String(view.generation));
  say(cells[8], view.verified ? `${span(Math.max(0, now - view.verified.begun))} ago` : "never");
  cells[6].classList.toggle("some", view.dead_letters > 0);
}
