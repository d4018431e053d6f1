// The dead letters of a view: found, opened, replayed, discarded.
import { button, make, note, number, problem, put, row, say, table } from "/static/text.js";
import { ask, confirmed, unlocked, work } from "/static/server.js";

const PAGE = 50;
const KINDS = ["projection", "content", "owner", "unique", "unreadable"];
const PAUSE = 250; // milliseconds after the last key before letters are looked for

// A section of one view. `said` takes what there is to tell of an action.
export function letterBox(view, writable, said) {
  const title = make("h3", {}, "Dead letters"), found = make("div"), more = make("p", { class: "buttons" });
  const key = make("input", { type: "search", autocomplete: "off" });
  const reason = make("input", { type: "search", autocomplete: "off" });
  const kind = make("select", {}, make("option", { value: "" }, "any"), ...KINDS.map((each) => make("option", {}, each)));
  const filters = make("div", { class: "filters" }, make("label", {}, "Key ", key), make("label", {}, "Reason ", reason),
    make("label", {}, "Kind ", kind));
  const box = make("section", { id: "letters", "aria-label": "Dead letters" }, title, filters, found, more);
  let letters = [], total = 0, asked = 0, shown = null;

  const chosen = () => ({ view, key: key.value.trim(), reason: reason.value.trim(), kind: kind.value });
  const isFiltered = () => Boolean(key.value.trim() || reason.value.trim() || kind.value);

  async function load(after = 0) {
    const mine = ++asked;
    const query = new URLSearchParams({ limit: PAGE, after, ...chosen() });
    try {
      const answer = await ask(`/api/dead-letters?${query}`);
      if (mine !== asked) return;
      total = answer.total;
      letters = after ? [...letters, ...answer.dead_letters] : answer.dead_letters;
      draw();
    } catch (error) { if (mine === asked) put(found, problem(error.message)); }
  }

  function draw() {
    if (!isFiltered()) say(title, `Dead letters (${number(total)})`);
    filters.hidden = !total && !isFiltered();
    if (!letters.length) put(found, note(isFiltered() ? "None fits." : "None."));
    else put(found, table(["Id", "Key", "Kind", "Reason", "Actions"], letters.map(line), { label: "Dead letters", cards: true }));
    const left = total - letters.length;
    const all = isFiltered() ? "Replay all that fit" : "Replay all";
    put(more, total ? button(all, () => replay(chosen(), `${number(total)} dead letters`), { disabled: !writable() }) : null,
      left > 0 ? button(`Show ${number(Math.min(PAGE, left))} more`, () => load(letters.at(-1).id)) : null,
      left > 0 ? make("span", { class: "note" }, `${number(letters.length)} of ${number(total)}`) : null);
  }

  function line(letter) {
    const disabled = !writable();
    const made = row(String(letter.id), make("code", {}, letter.row_key || letter.item_key), letter.kind, letter.reason,
      make("span", { class: "buttons" },
        button("Open", () => open(made, letter.id), { disabled, "aria-label": `Open dead letter ${letter.id}` }),
        button("Replay", () => replay({ ids: [letter.id] }, `dead letter ${letter.id}`), { disabled, "aria-label": `Replay dead letter ${letter.id}` }),
        button("Discard", () => discard(letter.id), { disabled, "aria-label": `Discard dead letter ${letter.id}` })));
    made.children[3].className = "long";
    return made;
  }

  async function open(made, id) {
    if (made.nextSibling?.className === "opened") { made.nextSibling.remove(); return; }
    if (!(await unlocked())) return;
    try {
      const { change } = await ask(`/api/dead-letters/${id}`);
      const text = typeof change === "string" ? change : JSON.stringify(change, null, 2);
      made.after(make("tr", { class: "opened" }, make("td", { colspan: 5 }, make("pre", { tabindex: 0 }, text))));
    } catch (error) { said(error.message); }
  }

  // Tries letters again: it reads their items, and never overwrites a newer row.
  async function replay(which, called) {
    if (!(await unlocked())) return;
    const given = Object.fromEntries(Object.entries(which).filter(([, value]) => value.length));
    try {
      said(`Replaying ${called}…`);
      const { counts, letters: tried } = await work("/api/dead-letters/replay", given, (how) => said(`Replaying ${called}: ${how}`));
      await load();
      const results = Object.entries(counts).map(([result, count]) => `${number(count)} ${result}`).join(", ");
      const why = tried.length === 1 && tried[0].reason ? `: ${tried[0].reason}` : "";
      said(`Replayed ${called}: ${results || "none were left"}${why}.`);
    } catch (error) { said(error.message); }
  }

  async function discard(id) {
    const about = "Its change stays counted as dead, and is gone for good.";
    if (!(await confirmed(`Discard dead letter ${id}?`, about, "Discard")) || !(await unlocked())) return;
    try {
      await ask("/api/dead-letters/discard", { ids: [id] });
      await load();
      said(`Dead letter ${id} is discarded.`);
    } catch (error) { said(error.message); }
  }

  let pause = 0;
  const look = () => { clearTimeout(pause); pause = setTimeout(load, PAUSE); };
  for (const input of [key, reason, kind]) input.addEventListener("input", look);
  return {
    box,
    // Called with what the status says; loads them again where there are others.
    follow(count) {
      if (count === shown) return;
      shown = count;
      load();
    },
    redraw: draw,
  };
}
