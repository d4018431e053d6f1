// Talking to the server.
import { $ } from "/static/text.js";

const BACK = 5000; // milliseconds until a connection that was refused is tried again

export const token = () => sessionStorage.getItem("token") ?? "";
export const forget = () => sessionStorage.removeItem("token");

export async function ask(path, body) {
  const headers = token() ? { authorization: `Bearer ${token()}` } : {};
  const request = body === undefined ? { headers }
    : { method: "POST", headers: { ...headers, "content-type": "application/json" }, body: JSON.stringify(body) };
  let response, answer;
  try {
    response = await fetch(path, request);
    answer = await response.json();
  } catch {
    throw new Error("dynaview does not answer; see whether dynaview run still runs");
  }
  if (!response.ok) {
    if (response.status === 401) forget();
    throw new Error(answer.error ?? `the server answered ${response.status}`);
  }
  return answer;
}

export const ofView = (name, rest = "") => `/api/views/${encodeURIComponent(name)}${rest}`;

const LOOK = 500; // milliseconds between two looks at a task

// Asks for work that takes long, and waits for its end; `told` is called with how it stands. Answers its result.
export async function work(path, body, told) {
  let { task } = await ask(path, body);
  for (;;) {
    if (task.state === "done") return task.result;
    if (task.state !== "queued" && task.state !== "running") throw new Error(task.error || `it was ${task.state}`);
    told(task.state === "queued" ? "it waits for its turn" : task.expected ? `${task.done} of ${task.expected}` : "it runs");
    await new Promise((done) => setTimeout(done, LOOK));
    task = await ask(`/api/tasks/${encodeURIComponent(task.id)}`);
  }
}

// Calls `arrived` with the status of all views, once a second, and `lost` while there is no connection.
export function listen(arrived, lost) {
  const source = new EventSource("/api/events");
  source.onmessage = (event) => arrived(JSON.parse(event.data));
  source.onerror = () => {
    lost();
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, BACK, arrived, lost);
  };
}

const closed = (dialog) => {
  dialog.returnValue = "cancel";
  dialog.showModal();
  return new Promise((done) => {
    dialog.addEventListener("close", () => done(dialog.returnValue === "ok"), { once: true });
  });
};

// Whether the user says yes.
export function confirmed(title, text, ok) {
  $("ask-title").textContent = title;
  $("ask-text").textContent = text;
  $("ask-ok").textContent = ok;
  return closed($("ask-dialog"));
}

// Whether there is a token: the user is asked for it where there is none.
export async function unlocked() {
  if (token()) return true;
  const ok = await closed($("token-dialog"));
  const given = $("token").value;
  $("token").value = "";
  if (ok && given) sessionStorage.setItem("token", given);
  document.dispatchEvent(new Event("unlocked"));
  return Boolean(token());
}
