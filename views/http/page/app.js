// The page: all views live, one of them in detail. What is open is in the address.
import { $, say } from "/static/text.js";
import { ask, forget, listen, token, unlocked } from "/static/server.js";
import { close, drawDetail, opened, show } from "/static/detail.js";
import { drawList } from "/static/list.js";
import { take } from "/static/samples.js";

let told = null;

function arrived(status) {
  banner("");
  take(status);
  told = status;
  draw();
}
function lost() {
  banner("The connection to dynaview is lost; what you see may be old. It is tried again.");
  $("mark").className = "bad";
}
function banner(text) {
  say($("banner"), text);
  $("banner").hidden = !text;
}

function draw() {
  if (!told) return;
  $("mark").className = told.ok ? "good" : "bad";
  say($("summary"), summary());
  document.title = `${told.ok ? "✓" : "✗"} dynaview`;
  $("unlock").hidden = !told.writable;
  say($("unlock"), token() ? "Lock changes" : "Unlock changes");
  if (!$("views").hidden) drawList(told, (name) => { location.hash = encodeURIComponent(name); });
  drawDetail(told);
}
function summary() {
  const count = told.views.length + told.missing.length;
  const wrong = told.views.filter((view) => !view.ok).length + told.missing.length;
  if (told.error) return `The control store does not answer: ${told.error}`;
  if (!count) return "No views yet.";
  if (wrong) return `${wrong} of ${count} views ${wrong === 1 ? "needs" : "need"} attention.`;
  return count === 1 ? "The view is well." : `All ${count} views are well.`;
}

// The address says which view is open.
function follow() {
  let name = "";
  try { name = decodeURIComponent(location.hash.slice(1)); } catch { /* no name that can be read */ }
  if (!told || name === (opened() ?? "")) return;
  if (name) { show(name, told); return; }
  const from = opened();
  close();
  draw();
  document.querySelector(`tr[data-view="${CSS.escape(from)}"] button.name`)?.focus();
}

addEventListener("hashchange", follow);
document.addEventListener("unlocked", draw);
$("filter").addEventListener("input", draw);
$("unlock").addEventListener("click", async () => {
  if (token()) { forget(); document.dispatchEvent(new Event("unlocked")); } else await unlocked();
});
document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  const typing = ["INPUT", "TEXTAREA", "SELECT"].includes(document.activeElement?.tagName);
  if (event.key === "Escape" && opened() && !typing) location.hash = "";
  if (event.key === "/" && !typing && !$("views").hidden) { event.preventDefault(); $("filter").focus(); }
});
ask("/api/status").then((status) => { if (!told) arrived(status); follow(); }).catch((error) => banner(error.message));
listen((status) => { arrived(status); follow(); }, lost);
