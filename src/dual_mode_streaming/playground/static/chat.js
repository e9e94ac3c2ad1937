// A chat with the model of the demo. An answer is worked on by the server, and not by this request: so the page can be
// loaded anew in the middle and goes on after the last event that it has seen.

import { allTaken } from "./connections.js";
import { find, make, memory } from "./dom.js";
import { explained, readByFetch } from "./wire.js";

const PLACE = "v1/responses";
const TRIES = 8; // how often an answer is followed again that broke off
const PAUSE = 1000; // milliseconds before each

export function chat() {
  let turns = memory.get("chat") ?? []; // [{role, text, answer?: {id, seen}}]
  let current = null;
  let leave = () => {};

  const keep = () => memory.set("chat", turns);

  function bubble(turn) {
    const element = make("li", { class: turn.role });
    element.append(
      make("span", { class: "who", text: turn.role === "user" ? "You" : "Model" }),
      make("p", { class: "said", text: turn.text }),
      make("small", { class: "note", text: turn.note ?? "" }),
    );
    find("chat-turns").append(element);
    return element;
  }

  function toggle(running) {
    find("chat-send").disabled = running;
    find("chat-stop").disabled = !running;
    find("chat-clear").disabled = running;
    find("chat").dataset.state = running ? "answering" : "idle";
    find("chat-turns").setAttribute("aria-busy", String(running)); // an answer is read out when it is there
  }

  // Reads the events of an answer into its turn: from the beginning, or from where the page was.
  async function follow(turn, request, tries = 0) {
    const element = find("chat-turns").lastElementChild;
    const start = performance.now();
    let first = null;
    let pieces = 0;
    const leaving = new AbortController();
    current = turn;
    leave = () => leaving.abort();
    toggle(true);
    try {
      const result = await readByFetch(request, {
        signal: leaving.signal,
        onFrame: ({ value, at }) => {
          if (typeof value !== "object" || value === null) return;
          if (value.response?.id) turn.answer.id = value.response.id;
          if (value.type === "response.output_text.delta") {
            first ??= at;
            pieces += 1;
            turn.text += value.delta;
            element.querySelector(".said").textContent = turn.text;
          }
          if (value.type === "response.failed") turn.note = value.response.error?.message ?? "failed";
          turn.answer.seen = value.sequence_number ?? turn.answer.seen;
          if (["response.completed", "response.failed", "response.incomplete"].includes(value.type)) turn.answer.over = true;
          keep();
        },
      });
      if (!turn.answer.over) throw new Error(result.problem?.message ?? "the answer was cut");
      const total = (performance.now() - start) / 1000;
      turn.note ??= `${pieces} pieces, the first after ${Math.round(first ?? 0)} ms, ${(pieces / total).toFixed(0)} a second`;
    } catch (error) {
      // A connection that breaks ends no answer. This is also how it looks when the page is about to go.
      if (error instanceof TypeError && turn.answer.id && tries < TRIES) {
        element.querySelector(".note").textContent = "The connection broke; the answer goes on. Trying again …";
        await new Promise((resolve) => setTimeout(resolve, PAUSE));
        return follow(turn, again(turn), tries + 1);
      }
      turn.note = turn.stopped ? "stopped" : explained(error);
      turn.answer.over = true;
    }
    if (turn.stopped) turn.note = "stopped";
    element.querySelector(".note").textContent = turn.note;
    current = null;
    keep();
    toggle(false);
  }

  function ask(text) {
    turns.push({ role: "user", text });
    bubble(turns.at(-1));
    const input = turns.filter((turn) => turn.text).map(({ role, text: content }) => ({ role, content }));
    const turn = { role: "assistant", text: "", answer: { id: null, seen: null, over: false } };
    turns.push(turn);
    bubble(turn);
    keep();
    const body = JSON.stringify({ model: "demo", input, stream: true, background: true, store: true });
    return follow(turn, { url: PLACE, options: { method: "POST", headers: { "Content-Type": "application/json" }, body } });
  }

  // The rest of an answer: what came after the last event that this page has seen.
  function again(turn) {
    const after = turn.answer.seen === null ? "" : `&starting_after=${turn.answer.seen}`;
    return { url: `${PLACE}/${turn.answer.id}?stream=true${after}`, options: {} };
  }

  function goOn(turn) {
    find("chat-status").textContent = "This page was loaded anew; the answer goes on where it was.";
    return follow(turn, again(turn));
  }

  find("chat-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const input = find("chat-input");
    const text = input.value.trim();
    if (!text || current) return;
    input.value = "";
    find("chat-status").textContent = "";
    ask(text);
  });
  find("chat-stop").addEventListener("click", async () => {
    if (!current?.answer.id) return;
    current.stopped = true;
    const { id } = current.answer;
    if (await allTaken()) leave(); // so that there is a connection for the request that stops it
    await fetch(`${PLACE}/${id}/cancel`, { method: "POST" });
  });
  find("chat-clear").addEventListener("click", () => {
    turns = [];
    keep();
    find("chat-turns").replaceChildren();
    find("chat-status").textContent = "";
  });

  fetch("v1/models").then((answer) => answer.json()).then(({ data }) => {
    const names = data.map((model) => model.id).filter((name) => name !== "demo");
    find("chat-model").textContent = names[0] ?? "demo";
  }, () => {});

  turns.forEach(bubble);
  toggle(false);
  const open = turns.at(-1);
  if (open?.answer && !open.answer.over) {
    if (open.answer.id) goOn(open);
    else open.answer.over = true; // it was not even begun
  }
}
