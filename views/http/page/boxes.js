// What a view is declared as, a box to try it out on items, and one to see what became of an item.
import { button, make, note, problem, put, row, table } from "/static/text.js";
import { ask, ofView, unlocked } from "/static/server.js";

// How a view is declared, with what changed since its rows were built.
export function declarationBox(view) {
  const body = make("div", {}, note("Loading…"));
  const box = make("section", { "aria-label": "Declaration", id: "declaration" }, make("h3", {}, "Declaration"), body);

  async function load() {
    try { draw(await ask(ofView(view, "/declaration"))); } catch (error) { put(body, problem(error.message)); }
  }
  function draw(found) {
    const changes = found.changes.map((each) => make("tr", {},
      make("td", {}, make("code", {}, each.path), each.key ? ` ${each.key}` : ""),
      make("td", {}, each.before === null ? "" : make("del", {}, each.before)),
      make("td", {}, each.after === null ? "" : make("ins", {}, each.after))));
    const lines = found.declared.map((each) => row(make("code", {}, each.path), make("code", {}, each.value)));
    put(body,
      found.at ? make("p", {}, "At ", make("code", {}, found.at)) : note("It is not declared any more."),
      found.do ? make("p", { class: "do" }, found.do) : null,
      changes.length ? table(["Changed", "Rows were built by", "Declared now"], changes, { label: "What changed" })
        : found.state === "unchanged" ? note("Its rows were built by this declaration.") : null,
      lines.length ? make("details", {}, make("summary", {}, "All of it"), table(["Key", "Value"], lines, { label: "Declaration" })) : null);
  }
  return { box, load };
}

const RESULTS = {
  rows: "gives rows", filtered: "is filtered out", unmatched: "is none of this view's", empty: "gives no row",
  "dead-letter": "would be a dead letter",
};

// Items and the rows that the view would make of them; nothing is written.
export function previewBox(view, writable) {
  const text = make("textarea", { rows: 4, spellcheck: "false", id: "item" });
  const found = make("div", { "aria-live": "polite" });
  const act = (id, name, body, primary) => button(name, () => run(body()), { id, class: primary && "primary" });
  const buttons = make("p", { class: "buttons" },
    act("try-item", "Show its rows", () => ({ item: text.value }), true),
    act("try-key", "It is a key: look it up", () => ({ key: text.value })),
    act("try-some", "Five items of the table", () => ({ limit: 5 })));
  const box = make("section", { "aria-label": "Try an item", id: "preview" }, make("h3", {}, "Try an item"),
    make("label", { for: "item" }, "An item or a key, JSON or DynamoDB JSON; nothing is written"), text, buttons, found);

  async function run(body) {
    if (!(await unlocked())) return;
    put(found, note("Loading…"));
    try { draw(await ask(ofView(view, "/preview"), body)); } catch (error) { put(found, problem(error.message)); }
  }
  function draw(answer) {
    put(found, ...answer.items.map(item), ...answer.notes.map(note));
  }
  function item(each) {
    return make("div", { class: "tried" },
      make("p", {}, make("strong", {}, `It ${RESULTS[each.result] ?? each.result}`), each.reason ? `: ${each.reason}` : ""),
      make("div", { class: "pair" }, json("Item", each.item),
        make("div", {}, ...each.rows.map((made) => json(`Row ${keyText(made.key)}`, made.values, made.fault)))));
  }
  function redraw() { for (const each of buttons.children) each.disabled = !writable(); }
  redraw();
  return { box, redraw };
}

const keyText = (key) => (typeof key === "string" ? key : JSON.stringify(key));
const json = (title, value, fault) => make("div", {}, make("p", { class: "note" }, title),
  fault ? problem(fault) : null, make("pre", { tabindex: 0 }, JSON.stringify(value, null, 2)));

const VERDICTS = { right: "good", behind: "warn", unknown: "warn" };

// What became of the item with a key in this view.
export function traceBox(view, writable) {
  const text = make("textarea", { rows: 2, spellcheck: "false", id: "traced" });
  const found = make("div", { "aria-live": "polite" });
  const run = button("Trace it", trace, { class: "primary", id: "trace-item" });
  const box = make("section", { "aria-label": "Trace an item", id: "trace-box" }, make("h3", {}, "Trace an item"),
    make("label", { for: "traced" }, "The key of an item, as JSON"), text, make("p", { class: "buttons" }, run), found);

  async function trace() {
    if (!(await unlocked())) return;
    put(found, note("Looking; where rows differ, the view gets some seconds to catch up…"));
    try {
      const answer = await ask("/api/trace", { key: text.value, views: [view] });
      put(found, ...Object.entries(answer.items).map(([source, item]) => note(`${source}: ${itemText(item)}`)),
        ...answer.views.map(verdict), ...answer.notes.map(note));
    } catch (error) { put(found, problem(error.message)); }
  }
  function redraw() { run.disabled = !writable(); }
  redraw();
  return { box, redraw };
}

const itemText = (there) => (!there ? "the table has no such item" : "the table has the item");

function verdict(each) {
  const rows = each.rows.flatMap((made) => made.stored.map((stored) => row(
    make("code", {}, keyText(made.key)), made.asked ? "yes" : "no", `generation ${stored.generation} (${stored.role})`, stored.stands,
    stored.verdict, stored.differs?.join(", ") ?? "")));
  return make("div", { class: "tried" },
    make("p", {}, make("span", { class: `state ${VERDICTS[each.verdict] ?? "bad"}` }, each.verdict),
      each.item?.reason ? ` ${each.item.result}: ${each.item.reason}` : ""),
    each.do ? make("p", { class: "do" }, make("code", {}, each.do)) : null,
    rows.length ? table(["Row", "Asked for", "Where", "What stands", "Verdict", "Differs in"], rows, { label: "Rows", cards: true }) : null,
    ...each.dead_letters.map((letter) => problem(`dead letter ${letter.id}: ${letter.reason}`)), ...each.notes.map(note));
}
