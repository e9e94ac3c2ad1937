// Reads a stream from the wire, and tells each frame when it arrives: with its raw text, and with what it means.
//
// A frame is {raw, at, name, id, value, kind}. `kind` is item, done, error, gap or other; `at` is in milliseconds since
// the request was sent.

import { connected } from "./connections.js";
import { createParser } from "./vendor/eventsource-parser/index.js";

export const SSE = "text/event-stream";
export const NDJSON = "application/x-ndjson";
export const JSON_TYPE = "application/json";

export class Refused extends Error {
  constructor(status, body) {
    super(body?.detail && typeof body.detail === "string" ? body.detail : (body?.title ?? `status ${status}`));
    this.status = status;
    this.body = body;
  }
}

const KINDS = { done: "done", error: "error", gap: "gap" };

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

// --- decoders: text in, frames out -----------------------------------------------------------------

class Blocks {
  #rest = "";
  #events = [];
  #parser = createParser({ onEvent: (event) => this.#events.push(event) });

  feed(text) {
    const blocks = (this.#rest + text).split("\n\n");
    this.#rest = blocks.pop();
    return blocks.map((raw) => this.#frame(raw));
  }

  #frame(raw) {
    this.#events = [];
    this.#parser.feed(`${raw}\n\n`);
    const [event] = this.#events;
    if (!event) return { raw, kind: "other" };
    const kind = event.data === "[DONE]" ? "done" : (KINDS[event.event] ?? "item");
    return { raw, kind, name: event.event, id: event.id, value: parsed(event.data) };
  }

  // Only a last event says that the stream is complete.
  endsWell = false;
}

class Lines {
  #rest = "";

  feed(text) {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop();
    return lines.map((raw) => this.#frame(raw));
  }

  #frame(raw) {
    const text = raw.replace(/^\x1e/, "");
    if (text === "") return { raw, kind: "other" };
    const value = parsed(text);
    const keys = value !== null && typeof value === "object" && !Array.isArray(value) ? Object.keys(value) : [];
    if (keys.length === 1 && keys[0] === "error") return { raw, kind: "error", value: value.error };
    if (keys.includes("data") && keys.every((key) => ["event", "id", "data"].includes(key))) {
      return { raw, kind: KINDS[value.event] ?? "item", name: value.event, id: value.id, value: value.data };
    }
    return { raw, kind: "item", value };
  }

  // A clean end is a good end: an error cuts the connection.
  endsWell = true;
}

// --- readers ---------------------------------------------------------------------------------------

async function refusal(response) {
  const text = await response.text();
  return new Refused(response.status, parsed(text) || null);
}

// Reads with fetch: any method, any format, raw bytes. Gives {status, type, bytes, complete, problem}.
export function readByFetch(request, { signal, onFrame = () => {}, onOpen = () => {}, pace = null }) {
  return connected(async () => {
    const start = performance.now();
    const response = await fetch(request.url, { ...request.options, signal, cache: "no-store" });
    if (!response.ok) throw await refusal(response);
    const type = response.headers.get("content-type")?.split(";")[0] ?? "";
    const decoder = type === SSE ? new Blocks() : new Lines();
    const result = { status: response.status, type, bytes: 0, complete: false, problem: null };
    onOpen(response, performance.now() - start);
    const text = new TextDecoder();
    const reader = response.body?.getReader();
    while (reader) {
      const { value, done } = await reader.read();
      if (done) break;
      const at = performance.now() - start;
      result.bytes += value.length;
      for (const frame of decoder.feed(text.decode(value, { stream: true }))) {
        if (frame.kind === "done") result.complete = true;
        if (frame.kind === "error") result.problem = frame.value;
        onFrame({ ...frame, at }, result);
      }
      if (pace) await pace(value.length);
    }
    if (decoder.endsWell && !result.problem) result.complete = true;
    return result;
  });
}

// Reads with the browser's EventSource: GET and server-sent events, reconnecting by itself. It shows no bytes.
export function readByEventSource(request, { signal, onFrame = () => {}, onOpen = () => {} }) {
  return connected(() => new Promise((resolve, reject) => {
    const start = performance.now();
    const source = new EventSource(request.url);
    const result = { status: 200, type: SSE, bytes: null, complete: false, problem: null };
    const end = (settle, value) => {
      source.close();
      settle(value);
    };
    const frame = (event, kind) => {
      const value = parsed(event.data);
      return { raw: null, at: performance.now() - start, kind, name: event.type, id: event.lastEventId, value };
    };
    signal?.addEventListener("abort", () => end(reject, new DOMException("stopped", "AbortError")));
    source.addEventListener("open", () => onOpen(null, performance.now() - start));
    source.addEventListener("message", (event) => onFrame(frame(event, "item"), result));
    source.addEventListener("gap", (event) => onFrame(frame(event, "gap"), result));
    source.addEventListener("done", (event) => {
      result.complete = true;
      onFrame(frame(event, "done"), result);
      end(resolve, result);
    });
    source.addEventListener("error", (event) => {
      if (event.data) {
        result.problem = parsed(event.data);
        onFrame(frame(event, "error"), result);
        end(resolve, result);
      } else if (source.readyState === EventSource.CLOSED) {
        end(reject, new Refused("?", { title: "EventSource was refused, and does not tell why. Read with fetch." }));
      }
    });
  }));
}

// Reads a batch. Gives {status, type, bytes, value, first, total}, times in milliseconds.
export function readBatch(request, { signal } = {}) {
  return connected(async () => {
    const start = performance.now();
    const response = await fetch(request.url, { ...request.options, signal, cache: "no-store" });
    if (!response.ok) throw await refusal(response);
    const first = performance.now() - start;
    const body = await response.arrayBuffer();
    const total = performance.now() - start;
    const type = response.headers.get("content-type")?.split(";")[0] ?? "";
    const value = parsed(new TextDecoder().decode(body));
    return { status: response.status, type, bytes: body.byteLength, value, first, total };
  });
}

// Says in words what went wrong.
export function explained(error) {
  if (error.name === "AbortError") return "stopped";
  if (error instanceof Refused) return `${error.status}: ${error.message}`;
  if (error instanceof TypeError) return "the connection broke: the server is gone, or it has cut the answer";
  return error.message;
}
