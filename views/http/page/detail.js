// One view: what it does and what can be done with it, dead letters, declaration, trials, shards.
import { $, button, make, moment, note, number, problem, put, rate, row, say, span, table } from "/static/text.js";
import { ask, confirmed, ofView, token, unlocked, work } from "/static/server.js";
import { brief, kindOf } from "/static/list.js";
import { declarationBox, previewBox, traceBox } from "/static/boxes.js";
import { letterBox } from "/static/letters.js";
import { rateOf, trend } from "/static/samples.js";

const ENDED = ["done", "failed", "cancelled"];
const SHARDS = 200; // shown at most

let open = null; // { name, parts, letters, drawn, told }

export const opened = () => open?.name ?? null;

// Opens a view; `told` is the status of all.
export function show(name, told) {
  const parts = Object.fromEntries(["head", "rebuild", "shards"].map((part) => [part, make("section")]));
  const said = make("p", { id: "said", role: "status", class: "note" });
  const letters = letterBox(name, () => told.writable, (text) => say(said, text));
  const declaration = declarationBox(name), preview = previewBox(name, () => told.writable);
  const trace = traceBox(name, () => told.writable);
  open = { name, parts, letters, declaration, preview, said, drawn: {}, told };
  put($("detail"),
    make("div", { class: "top" }, make("h2", { id: "detail-title" }, name), button("All views", () => { location.hash = ""; }, { id: "close" })),
    parts.head, parts.rebuild, said, letters.box, declaration.box, trace.box, preview.box, parts.shards);
  $("detail").hidden = false;
  $("views").hidden = true;
  $("detail").focus();
  drawDetail(told);
}

export function close() {
  open = null;
  $("detail").hidden = true;
  $("views").hidden = false;
}

export function drawDetail(told) {
  if (!open) return;
  open.told = told;
  const view = told.views.find((each) => each.view === open.name);
  if (!view) {
    put(open.parts.head, note(told.missing.includes(open.name) ? "It was never started: dynaview run starts it."
      : "There is no such view."));
    return;
  }
  drawHead(view);
  open.letters.follow(view.dead_letters);
  once("rebuild", [view.rebuild, view.generations, view.paused, view.verified?.drift, Boolean(token()), told.writable], () => drawRebuild(view));
  once("declaration", [view.generation, view.state], open.declaration.load);
  once("shards", [Math.floor(told.at / 10)], drawShards);
}

// Draws a part again where what it shows is another thing, and leaves the focus where it is.
function once(part, shows, draw) {
  const key = JSON.stringify(shows);
  if (open.drawn[part] === key) return;
  open.drawn[part] = key;
  const focused = document.activeElement?.id;
  draw();
  if (focused) $(focused)?.focus();
}

const fact = (name, ...value) => make("div", { class: "fact" }, make("dt", {}, name), make("dd", {}, ...value));

function drawHead(view) {
  const head = open.parts.head;
  if (!open.drawn.head) {
    open.drawn.head = true;
    const names = ["state", "lag", "rate", "applied", "verified", "generation", "watermark", "counts"];
    const titles = ["State", "Lag", "Changes a second", "Applied", "Last verification", "Generation", "Watermark", "Counts"];
    put(head, make("p", { class: "problem", id: "problem" }),
      make("dl", { class: "facts" }, ...names.map((name, index) => fact(titles[index], make("span", { "data-fact": name })))),
      make("div", { class: "wide trend", id: "trend" }), note("Lag in the last three minutes"));
  }
  const tell = (name, text) => say(head.querySelector(`[data-fact=${name}]`), text);
  say($("problem"), view.problem ? brief(view) : view.reason ?? "");
  $("problem").className = view.problem ? "problem" : "note";
  $("problem").hidden = !view.problem && !view.reason;
  tell("state", view.state);
  head.querySelector("[data-fact=state]").className = `state ${kindOf(view)}`;
  tell("lag", span(view.lag));
  tell("rate", rate(rateOf(view.view)));
  tell("applied", number(view.counts.applied));
  tell("generation", String(view.generation));
  tell("watermark", moment(view.watermark));
  const { read, applied, stale, unmatched, dead_lettered: dead } = view.counts;
  tell("counts", `read ${number(read)} = applied ${number(applied)} + stale ${number(stale)} + unmatched ${number(unmatched)} + dead ${number(dead)}`);
  tell("verified", verification(view.verified));
  trend($("trend"), view.view);
}

function verification(found) {
  if (!found) return "never";
  if (found.error) return `${moment(found.begun)}: ${found.error}`;
  return `${moment(found.begun)}: ${number(found.drift)} of ${number(found.rows)} rows differed`;
}

function drawRebuild(view) {
  const rebuild = view.rebuild, active = rebuild && !ENDED.includes(rebuild.phase);
  const act = (id, text, action, title, about) => button(text, () => actOn(view.view, action, title, about), { id, disabled: !open.told.writable });
  const hasPrevious = view.generations?.some((each) => each.role === "previous");
  put(open.parts.rebuild, make("h3", {}, "Rebuild, verify, pause"), rebuildText(rebuild, active),
    view.paused === null ? null : note(`Paused since ${moment(view.paused)}. Changes wait in the table's stream, which keeps them for 24 hours.`),
    make("p", { class: "buttons" },
      active ? act("cancel", "Cancel the rebuild", "cancel", "Cancel the rebuild?", "What readers see stays as it is.")
        : act("rebuild", "Rebuild", "rebuild", `Rebuild ${view.view}?`,
          "The table is scanned within half of its provisioned read capacity. Readers keep the rows that they see until the swap."),
      rebuild?.asks ? act("confirm", "Go on", "confirm", "Go on with the rebuild?", rebuild.reason) : null,
      hasPrevious && !active ? act("rollback", "Roll back", "rollback", `Roll ${view.view} back?`,
        "Readers see the generation before the last rebuild again.") : null,
      button("Verify", () => compare(view.view, "verify"), { id: "verify", disabled: !open.told.writable }),
      view.verified?.drift ? button("Repair", () => compare(view.view, "repair"), { id: "repair", disabled: !open.told.writable }) : null,
      view.paused === null
        ? act("pause", "Pause", "pause", `Pause ${view.view}?`, "Nothing is written to its store until it is resumed. Its changes wait in the table's stream for 24 hours at the most.")
        : act("resume", "Resume", "resume", `Resume ${view.view}?`, "It goes on where it was.")),
    open.told.writable ? null : note("To change anything here, set DYNAVIEW_HTTP_TOKEN for dynaview run."));
}

function rebuildText(rebuild, active) {
  if (!rebuild) return note("There was none.");
  const what = { rollback: "rollback", fill: "first fill" }[rebuild.kind] ?? "rebuild";
  const text = `${what} ${rebuild.phase}: ${number(rebuild.items)} items, ${number(rebuild.rows)} rows`
    + (rebuild.left !== null ? `, ${span(rebuild.left)} left` : "") + (rebuild.reason ? ` (${rebuild.reason})` : "");
  const progress = active && rebuild.of_items
    ? make("progress", { max: Math.max(rebuild.of_items, rebuild.items), value: rebuild.items, "aria-label": "items scanned" }) : null;
  return make("div", {}, make("p", {}, text), progress);
}

async function drawShards() {
  const { name, parts } = open;
  if (!parts.shards.children.length) put(parts.shards, make("h3", {}, "Shards"), note("Loading…"));
  try {
    const { shards } = await ask(ofView(name));
    if (opened() !== name) return;
    const live = shards.filter((shard) => !shard.finished);
    const rows = live.slice(0, SHARDS).map((shard) => row(make("code", {}, shard.shard), moment(shard.time), span(shard.behind)));
    put(parts.shards, make("h3", {}, `Shards (${number(live.length)})`),
      live.length ? table(["Shard", "Last record applied", "Since then"], rows, { label: "Shards" }) : note("No shard is being read."),
      live.length > SHARDS ? note(`The first ${SHARDS} of them.`) : null);
  } catch (error) { if (opened() === name) put(parts.shards, make("h3", {}, "Shards"), problem(error.message)); }
}

// Compares a view with its table, and repairs what differs.
async function compare(view, what) {
  const said = open.said, doing = what === "verify" ? "Verifying" : "Repairing";
  const about = what === "verify" ? "The table is scanned within half of its provisioned read capacity."
    : "Each row that differs is written as its item asks, unless a newer change has come.";
  if (!(await confirmed(`${what === "verify" ? "Verify" : "Repair"} ${view}?`, about, "Begin")) || !(await unlocked())) return;
  try {
    say(said, `${doing}…`);
    const [report] = await work(ofView(view, `/${what}`), {}, (how) => say(said, `${doing}: ${how}`));
    say(said, report.error ? `It could not be verified: ${report.error}` : report.drift
      ? `${number(report.drift)} rows differed${what === "repair" ? "; what could be was repaired" : ""}.` : "Every row is as its item asks.");
  } catch (error) { say(said, error.message); }
}

async function actOn(view, action, title, about) {
  if (!(await confirmed(title, about, title.replace(/\?$/, ""))) || !(await unlocked())) return;
  try {
    await ask(ofView(view, `/${action}`), {});
    say(open.said, "Asked for; a worker does it.");
  } catch (error) { say(open.said, error.message); }
}

document.addEventListener("unlocked", () => { if (open) open.letters.redraw(); });
