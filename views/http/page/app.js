// The page: views live by server-sent events, one view in detail. Everything from the server is shown as text.
const $ = (id) => document.getElementById(id);
const SAMPLES = 180;
const samples = new Map(); // view -> {lags, read, at, rate}
let told = null, open = null, detail = null, letters = null, lettersAfter = 0;

const make = (tag, props = {}, ...inside) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...inside.filter((each) => each !== null && each !== undefined));
  return node;
};
const number = (value) => value.toLocaleString("en");
const span = (seconds) => seconds === null || seconds === undefined ? "unknown"
  : seconds < 120 ? `${seconds.toFixed(seconds < 10 ? 1 : 0)} s` : seconds < 7200 ? `${Math.round(seconds / 60)} min`
  : seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
const moment = (at) => at === null || at === undefined ? "unknown" : new Date(at * 1000).toISOString().replace("T", " ").slice(0, 19) + " UTC";

// Talking to the server

const token = () => sessionStorage.getItem("token") ?? "";
async function ask(path, body) {
  const headers = token() ? { authorization: `Bearer ${token()}` } : {};
  const request = body === undefined ? { headers } : { method: "POST", headers: { ...headers, "content-type": "application/json" }, body: JSON.stringify(body) };
  const response = await fetch(path, request);
  const answer = await response.json();
  if (!response.ok) {
    if (response.status === 401) sessionStorage.removeItem("token");
    throw new Error(answer.error ?? `the server answered ${response.status}`);
  }
  return answer;
}
function listen() {
  const source = new EventSource("/api/events");
  source.onmessage = (event) => { banner(""); take(JSON.parse(event.data)); };
  source.onerror = () => {
    banner("The connection to dynaview is lost; what you see may be old. It is tried again.");
    $("mark").className = "bad";
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
  };
}
function banner(text) {
  if ($("banner").textContent !== text) $("banner").textContent = text;
  $("banner").hidden = !text;
}
function confirmed(title, text, ok) {
  const dialog = $("ask-dialog");
  $("ask-title").textContent = title; $("ask-text").textContent = text; $("ask-ok").textContent = ok;
  dialog.returnValue = "cancel";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "ok"), { once: true }));
}
function unlocked() {
  if (token()) return Promise.resolve(true);
  const dialog = $("token-dialog");
  dialog.returnValue = "cancel";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => {
    const given = $("token").value;
    $("token").value = "";
    if (dialog.returnValue === "ok" && given) sessionStorage.setItem("token", given);
    done(Boolean(token()));
  }, { once: true }));
}

// What arrives

function take(status) {
  told = status;
  for (const view of status.views) {
    const kept = samples.get(view.view) ?? { lags: [], read: view.counts.read, at: status.at, rate: 0 };
    kept.lags.push(view.lag);
    if (kept.lags.length > SAMPLES) kept.lags.shift();
    const passed = status.at - kept.at;
    if (passed > 0) {
      const rate = Math.max(0, view.counts.read - kept.read) / passed;
      kept.rate = kept.rate * 0.6 + rate * 0.4;
      kept.read = view.counts.read; kept.at = status.at;
    }
    samples.set(view.view, kept);
  }
  draw();
}

function draw() {
  const wrong = told.views.filter((view) => !view.ok).length + told.missing.length;
  $("mark").className = told.ok ? "good" : "bad";
  const text = told.error ? `The control store does not answer: ${told.error}`
    : !told.views.length && !told.missing.length ? "No views yet."
    : wrong ? `${wrong} of ${told.views.length + told.missing.length} views need attention.`
    : `All ${told.views.length} views are well.`;
  if ($("summary").textContent !== text) $("summary").textContent = text;
  document.title = `${told.ok ? "✓" : "✗"} dynaview`;
  $("unlock").hidden = !told.writable;
  $("unlock").textContent = token() ? "Lock changes" : "Unlock changes";
  $("empty").hidden = Boolean(told.views.length || told.missing.length);
  $("table").hidden = !told.views.length && !told.missing.length;
  drawRows();
  if (open) drawDetail();
}

function drawRows() {
  const wanted = $("filter").value.trim().toLowerCase();
  const rows = [...told.views, ...told.missing.map((name) => ({ view: name, missing: true, ok: false }))]
    .filter((view) => !wanted || [view.view, view.sink, view.source, view.state, view.ok ? "" : "attention"].join(" ").toLowerCase().includes(wanted))
    .sort((a, b) => Number(a.ok) - Number(b.ok) || a.view.localeCompare(b.view));
  const body = $("rows");
  const known = new Map([...body.children].map((row) => [row.dataset.view, row]));
  rows.forEach((view, index) => {
    let row = known.get(view.view);
    if (!row) row = newRow(view);
    known.delete(view.view);
    if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null);
    fill(row, view);
  });
  for (const row of known.values()) row.remove();
}
function newRow(view) {
  const row = make("tr", { "data-view": view.view });
  const name = make("button", { class: "name", type: "button", onclick: () => show(view.view) }, view.view);
  row.append(make("th", { scope: "row" }, name, make("span", { class: "sink" })));
  for (const kind of ["", "number", "trend", "number", "number", "number", "number", ""]) row.append(make("td", { class: kind }));
  return row;
}
function fill(row, view) {
  const put = (index, text) => { if (row.children[index].textContent !== text) row.children[index].textContent = text; };
  const sink = row.querySelector(".sink");
  if (view.missing) {
    put(1, "never started");
    return;
  }
  if (sink.textContent !== `${view.source} → ${view.sink}`) sink.textContent = `${view.source} → ${view.sink}`;
  const kept = samples.get(view.view);
  const shown = view.state + "|" + view.problem;
  if (row.dataset.shown !== shown) {
    row.dataset.shown = shown;
    const kind = view.ok ? (view.state === "following" ? "good" : "warn") : "bad";
    row.children[1].replaceChildren(make("span", { class: `state ${kind}` }, view.state),
      view.problem ? make("span", { class: "problem" }, brief(view)) : "");
  }
  put(2, span(view.lag));
  trend(row.children[3], kept.lags);
  put(4, kept.rate < 10 ? kept.rate.toFixed(1) : number(Math.round(kept.rate)));
  put(5, number(view.counts.applied));
  put(6, number(view.dead_letters));
  put(7, String(view.generation));
  put(8, view.verified ? `${span(Math.max(0, told.at - view.verified.begun))} ago` : "never");
}
const brief = (view) => view.problem.startsWith(`${view.state}: `) ? view.problem.slice(view.state.length + 2) : view.problem;
function trend(cell, lags) {
  const known = lags.map((lag) => lag ?? 0), top = Math.max(1, ...known);
  const points = known.map((lag, index) => `${(index / (SAMPLES - 1) * 100).toFixed(1)},${(28 - lag / top * 26).toFixed(1)}`).join(" ");
  let line = cell.querySelector("polyline");
  if (!line) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", "trend"); svg.setAttribute("viewBox", "0 0 100 30"); svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("role", "img");
    line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    line.setAttribute("vector-effect", "non-scaling-stroke");
    svg.append(line); cell.replaceChildren(svg);
  }
  line.parentNode.setAttribute("aria-label", `lag at most ${span(top)} in the last minutes`);
  line.setAttribute("points", points);
}

// One view

async function show(name) {
  open = name; detail = null; letters = null; lettersAfter = 0;
  location.hash = encodeURIComponent(name);
  $("detail").hidden = false;
  $("detail").replaceChildren(make("h2", { id: "detail-title" }, name), make("p", { class: "note" }, "Loading…"));
  $("detail").focus();
  await refresh();
}
async function refresh() {
  const name = open;
  try {
    const [found, page] = await Promise.all([
      ask(`/api/views/${encodeURIComponent(name)}`),
      ask(`/api/dead-letters?limit=50&view=${encodeURIComponent(name)}`),
    ]);
    if (open !== name) return;
    detail = found; letters = page;
    drawn = ""; drawDetail();
  } catch (error) {
    if (open === name) $("detail").replaceChildren(make("h2", { id: "detail-title" }, name), make("p", { class: "error" }, error.message));
  }
}
let drawn = "";
function drawDetail() {
  if (!detail) return;
  const view = told.views.find((each) => each.view === open) ?? detail;
  const rebuild = view.rebuild;
  const active = rebuild && !["done", "failed", "cancelled"].includes(rebuild.phase);
  const key = JSON.stringify([view.state, view.problem, view.generation, rebuild, letters, view.dead_letters, Boolean(token()), told.writable]);
  if (key === drawn) return;
  if (letters && view.dead_letters !== letters.total && drawn) { drawn = ""; refresh(); return; }
  drawn = key;
  const focused = document.activeElement?.id;
  const box = $("detail");
  const act = (id, text, action, title, about, body = {}) => make("button", {
    type: "button", id, disabled: !told.writable, onclick: () => act_on(view.view, action, title, about, body) }, text);
  box.replaceChildren(
    make("div", { class: "top" }, make("h2", { id: "detail-title" }, view.view),
      make("button", { type: "button", id: "close", onclick: close }, "Close")),
    make("dl", {},
      ...entry("State", view.state), ...(view.problem ? entry("Problem", brief(view)) : view.reason ? entry("Reason", view.reason) : []),
      ...entry("Watermark", moment(view.watermark)), ...entry("Generation", String(view.generation)),
      ...entry("Declared at", detail.declared_at ?? "not declared any more"),
      ...entry("Counts", `read ${number(view.counts.read)} = applied ${number(view.counts.applied)} + stale ${number(view.counts.stale)} + unmatched ${number(view.counts.unmatched)} + dead ${number(view.counts.dead_lettered)}`),
      ...(view.verified ? entry("Verified", `${moment(view.verified.begun)}: ${view.verified.error ? view.verified.error : number(view.verified.drift) + " rows differed"}`) : entry("Verified", "never"))),
    make("h3", {}, "Rebuild"), rebuildText(rebuild, active),
    make("p", { class: "buttons" },
      active ? act("cancel", "Cancel the rebuild", "cancel", "Cancel the rebuild?", "What readers see stays as it is.") 
        : act("rebuild", "Rebuild", "rebuild", `Rebuild ${view.view}?`, "The table is scanned within half of its provisioned read capacity. Readers keep the rows that they see until the swap."),
      rebuild?.asks ? act("confirm", "Go on", "confirm", "Go on with the rebuild?", rebuild.reason) : null,
      view.generations?.some((each) => each.role === "previous") && !active
        ? act("rollback", "Roll back", "rollback", `Roll ${view.view} back?`, "Readers see the generation before the last rebuild again.") : null),
    told.writable ? null : make("p", { class: "note" }, "To change anything here, set DYNAVIEW_HTTP_TOKEN for dynaview run."),
    make("p", { id: "said", role: "status", class: "note" }),
    make("h3", {}, `Dead letters (${number(letters?.total ?? 0)})`), letterTable(view.view),
    make("h3", {}, `Shards (${number(detail.shards.length)})`), shardTable());
  if (focused) $(focused)?.focus();
}
const entry = (name, text) => [make("dt", {}, name), make("dd", {}, text)];
function rebuildText(rebuild, active) {
  if (!rebuild) return make("p", { class: "note" }, "There was none.");
  const text = `${rebuild.kind === "rollback" ? "rollback" : "rebuild"} ${rebuild.phase}: ${number(rebuild.items)} items, ${number(rebuild.rows)} rows` +
    (rebuild.left !== null ? `, ${span(rebuild.left)} left` : "") + (rebuild.reason ? ` (${rebuild.reason})` : "");
  return make("div", {}, make("p", {}, text),
    active && rebuild.of_items ? make("progress", { max: Math.max(rebuild.of_items, rebuild.items), value: rebuild.items, "aria-label": "items scanned" }) : null);
}
function letterTable(view) {
  if (!letters?.dead_letters.length) return make("p", { class: "note" }, "None.");
  const rows = letters.dead_letters.map((letter) => make("tr", {},
    make("td", {}, String(letter.id)), make("td", {}, make("code", {}, letter.row_key || letter.item_key)),
    make("td", {}, letter.kind), make("td", {}, letter.reason),
    make("td", {}, make("span", { class: "buttons" },
      make("button", { type: "button", disabled: !told.writable, "aria-label": `Open dead letter ${letter.id}`, onclick: (event) => openLetter(event, letter.id) }, "Open"),
      make("button", { type: "button", disabled: !told.writable, "aria-label": `Discard dead letter ${letter.id}`, onclick: () => discard(letter.id) }, "Discard")))));
  return make("div", {}, make("div", { class: "scroll" }, make("table", {},
    make("thead", {}, make("tr", {}, ...["Id", "Key", "Kind", "Reason", "Actions"].map((text) => make("th", { scope: "col" }, text)))),
    make("tbody", {}, ...rows))),
    letters.total > letters.dead_letters.length ? make("p", { class: "note" }, `The oldest ${letters.dead_letters.length} of ${number(letters.total)}; dynaview dead-letters list --view ${view} shows all.`) : null,
    make("p", { class: "note" }, make("code", {}, `dynaview dead-letters replay --view ${view}`), " tries them again."));
}
function shardTable() {
  const live = detail.shards.filter((shard) => !shard.finished);
  if (!live.length) return make("p", { class: "note" }, "No shard is being read.");
  return make("div", { class: "scroll" }, make("table", {},
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Shard"), make("th", { scope: "col" }, "Last record applied"))),
    make("tbody", {}, ...live.slice(0, 200).map((shard) => make("tr", {}, make("td", {}, make("code", {}, shard.shard)), make("td", {}, moment(shard.time)))))));
}
async function act_on(view, action, title, about, body) {
  if (!(await confirmed(title, about, title.replace(/\?$/, ""))) || !(await unlocked())) return;
  try {
    await ask(`/api/views/${encodeURIComponent(view)}/${action}`, body);
    await refresh();
    say("Asked for; a worker does it.");
  } catch (error) { say(error.message); }
}
async function discard(id) {
  if (!(await confirmed(`Discard dead letter ${id}?`, "Its change stays counted as dead, and is gone for good.", "Discard")) || !(await unlocked())) return;
  try { await ask("/api/dead-letters/discard", { ids: [id] }); await refresh(); say(`Dead letter ${id} is discarded.`); }
  catch (error) { say(error.message); }
}
async function openLetter(event, id) {
  const row = event.target.closest("tr");
  if (!(await unlocked())) return;
  try {
    const letter = await ask(`/api/dead-letters/${id}`);
    row.after(make("tr", {}, make("td", { colspan: 5 }, make("pre", { tabindex: 0 }, typeof letter.change === "string" ? letter.change : JSON.stringify(letter.change, null, 2)))));
  } catch (error) { say(error.message); }
}
const say = (text) => { if ($("said")) $("said").textContent = text; };
function close() {
  const name = open;
  open = detail = letters = null; drawn = "";
  $("detail").hidden = true;
  window.history.replaceState(null, "", location.pathname);
  document.querySelector(`tr[data-view="${CSS.escape(name)}"] button.name`)?.focus();
}

$("filter").addEventListener("input", () => told && drawRows());
$("unlock").addEventListener("click", async () => {
  if (token()) sessionStorage.removeItem("token"); else await unlocked();
  if (told) { drawn = ""; draw(); }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && open && !document.querySelector("dialog[open]")) close();
  if (event.key === "/" && document.activeElement?.tagName !== "INPUT") { event.preventDefault(); $("filter").focus(); }
});
listen();
ask("/api/status").then((status) => { take(status); if (location.hash.length > 1) show(decodeURIComponent(location.hash.slice(1))); }).catch((error) => banner(error.message));
