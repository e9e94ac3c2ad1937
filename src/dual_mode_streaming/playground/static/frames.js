// The frames as they came over the wire, line by line. Each line is explained when it is pointed at, or reached with the
// arrow keys.

import { make } from "./dom.js";

const MOST = 200; // frames that are shown
const WIDEST = 300; // characters of a line

const EVENTS = {
  done: "The name of the last event: the stream is complete. Without it a client knows that something is missing.",
  error: "The name of the last event of a stream that failed. Its data is a problem document (RFC 9457).",
  gap: "The name of an event that stands for items which this reader did not get, because it was too slow.",
};

function explainSse(line) {
  if (line.startsWith(":")) return "A comment. It says nothing: it keeps the connection alive while the source is silent.";
  const [field, ...rest] = line.split(":");
  const value = rest.join(":").trim();
  if (field === "retry") return `How many milliseconds to wait before connecting again. Drawn anew for each client, so that they do not all come back at once.`;
  if (field === "event") return EVENTS[value] ?? "The name of the event. EventSource calls the listeners of this name; without one it is “message”.";
  if (field === "id") {
    return value === "dms-done"
      ? "The id of the end. EventSource comes back after every end and sends it; the answer is then 204, and it stops."
      : "The id of the event. A client that reconnects sends it as Last-Event-ID, and gets what came after it.";
  }
  if (field === "data" && value === "[DONE]") return "OpenAI's way to say that the stream is complete.";
  if (field === "data") return "The item, as JSON on one line. A blank line after it ends the event.";
  return "A field that clients ignore.";
}

function explainJson(line, frame) {
  if (line.startsWith("\x1e")) return "A record of a JSON text sequence (RFC 7464): the byte RS, the item, and a line feed. Where a record is torn, the next RS shows where to go on.";
  if (frame.kind === "error") return "The last line of a stream that failed: a problem document. The connection is cut after it, so that it cannot look complete.";
  if (frame.id !== undefined && frame.id !== null) return "An item that has an id or a name stands in an object: “id” and “event” beside “data”.";
  return "One item, as JSON on one line. A clean end of the answer says that it is complete.";
}

const visible = (line) => {
  const text = line.replace("\x1e", "␞ ");
  return text.length > WIDEST ? `${text.slice(0, WIDEST)} … ${text.length - WIDEST} characters more` : text;
};

export class Frames {
  #list;
  #help;
  #idle;
  #count = 0;
  #current = null;

  // `list` is an empty element with the role listbox, `help` a live region for the explanations.
  constructor(list, help) {
    this.#list = list;
    this.#help = help;
    this.#idle = help.textContent;
    list.addEventListener("keydown", (event) => this.#key(event));
    list.addEventListener("pointerover", (event) => this.#choose(event.target.closest('[role="option"]')));
    list.addEventListener("click", (event) => this.#choose(event.target.closest('[role="option"]')));
    list.addEventListener("focus", () => {
      if (!this.#current) this.#choose(list.querySelector('[role="option"]'));
    });
  }

  clear() {
    this.#list.replaceChildren();
    this.#list.removeAttribute("aria-activedescendant");
    this.#help.textContent = this.#idle;
    this.#count = 0;
    this.#current = null;
  }

  add(frame, type) {
    this.#count += 1;
    if (this.#count > MOST) return;
    const raw = frame.raw ?? `(no bytes to see: EventSource shows events)\nevent: ${frame.name}`;
    raw.split("\n").forEach((line, index) => {
      const explained = frame.raw === null
        ? "EventSource gives the event to the page and keeps the bytes. Read with fetch to see them."
        : type === "text/event-stream" ? explainSse(line) : explainJson(line, frame);
      const option = make(
        "div",
        { role: "option", "aria-selected": "false", id: `${this.#list.id}-${this.#count}-${index}`, class: `line ${frame.kind}` },
        make("span", { class: "at", text: index ? "" : `+${(frame.at / 1000).toFixed(3)} s` }),
        this.#text(line, type),
      );
      option.dataset.help = explained;
      this.#list.append(option);
    });
    if (this.#count === MOST) {
      this.#list.append(make("div", { role: "option", "aria-selected": "false", class: "line", text: "… more frames came; they are counted above." }));
    }
  }

  #text(line, type) {
    const shown = visible(line);
    const colon = line.indexOf(":");
    if (type !== "text/event-stream" || colon < 1) return make("code", { text: shown });
    return make("code", {}, make("b", { text: shown.slice(0, colon + 1) }), shown.slice(colon + 1));
  }

  #choose(option, { scroll = false } = {}) {
    if (!option || option === this.#current) return;
    this.#current?.setAttribute("aria-selected", "false");
    this.#current = option;
    option.setAttribute("aria-selected", "true");
    if (option.id) this.#list.setAttribute("aria-activedescendant", option.id);
    this.#help.textContent = option.dataset.help ?? "";
    if (scroll) option.scrollIntoView({ block: "nearest" });
  }

  #key(event) {
    const options = [...this.#list.querySelectorAll('[role="option"]')];
    const at = options.indexOf(this.#current);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: options.length - 1 }[event.key];
    if (to === undefined || !options.length) return;
    event.preventDefault();
    this.#choose(options[Math.max(0, Math.min(to, options.length - 1))], { scroll: true });
  }
}
