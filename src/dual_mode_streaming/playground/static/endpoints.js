// The endpoints that can race: how to ask each, and how its batch follows from the items of its stream.
//
// `ask(values)` gives {method, path, headers, body, ...}. Of a batch and a stream only the mode is different: by `Accept`,
// or by a field of the body where the endpoint speaks a vendor's language.

import { randomName } from "./dom.js";
import * as folds from "./folds.js";

const number = (name, label, value, min, max, step) => ({ name, label, type: "number", value, min, max, step });

const untimed = (summary) => {
  if (!summary) return summary;
  const { seconds, rows_per_second, ...rest } = summary;
  return rest;
};

const report = ({ topics, pace }) => `reports?topics=${topics}&pace=${pace}`;

export const endpoints = [
  {
    id: "metrics",
    name: "Metrics",
    about: "This machine: a sample of processor, memory, disk and network at each interval. Both requests name the same "
      + "watch, so they follow one run of the generator.",
    fields: [number("seconds", "Seconds", 4, 0.1, 60, 0.1), number("interval", "Interval", 0.4, 0.05, 10, 0.05)],
    ask: ({ seconds, interval }) => ({
      method: "GET",
      path: `metrics?seconds=${seconds}&interval=${interval}&watch=${randomName()}`,
    }),
    fold: folds.collect,
    foldName: "collect: all samples in a list",
  },
  {
    id: "search",
    name: "Search",
    about: "Full text of the Python language reference. A stream has hits in the order in which they are found, the batch "
      + "has them ranked.",
    fields: [{ name: "q", label: "Words", type: "text", value: "generator expression", maxlength: "200" }],
    ask: ({ q }) => ({ method: "GET", path: `search?q=${encodeURIComponent(q)}` }),
    fold: folds.ranked,
    foldName: "ranked: counted, and the best first",
  },
  {
    id: "import",
    name: "CSV import",
    about: "A file of any size, read into SQLite. A stream tells the progress; both end with the summary.",
    file: true,
    fields: [],
    ask: ({ file }) => ({
      method: "POST",
      path: "import",
      headers: { "Content-Type": "text/csv" },
      body: file,
      fileName: file?.name ?? "data.csv",
    }),
    fold: folds.last,
    compare: untimed,
    foldName: "last: the summary (its two timings are not compared: each import has its own)",
  },
  {
    id: "chat",
    name: "Chat",
    about: "The language model of the demo, asked as OpenAI's clients ask. The body chooses the mode, by its field "
      + "“stream”.",
    fields: [{ name: "question", label: "Question", type: "text", value: "What is a river?", maxlength: "500" }],
    ask: ({ question }) => ({
      method: "POST",
      path: "v1/chat/completions",
      json: { model: "demo", messages: [{ role: "user", content: question }], temperature: 0, max_tokens: 80 },
      modeInBody: true,
    }),
    fold: folds.said,
    compareBatch: (value) => ({
      content: value.choices[0].message.content,
      finish_reason: value.choices[0].finish_reason,
    }),
    foldName: "the text of all pieces, and why it ended",
  },
  {
    id: "run",
    name: "Run",
    about: "Work that is owned by the server and not by a request: it is begun once, and both requests follow it.",
    fields: [number("topics", "Topics", 20, 1, 80, 1), number("pace", "Seconds for each", 0.15, 0, 2, 0.01)],
    prepare: async (values) => {
      const begun = await fetch(report(values), {
        method: "POST",
        headers: { Prefer: "respond-async" },
      });
      if (begun.status !== 202) throw new Error(`the run was not begun: status ${begun.status}`);
      return { path: begun.headers.get("location") };
    },
    ask: (values, begun) => ({ method: "GET", path: begun?.path ?? "/runs/ID", begin: report(values) }),
    fold: folds.summed,
    foldName: "summed: topics, words, and the longest of them",
  },
  {
    id: "channel",
    name: "Channel",
    about: "One source for all clients: the pulse of this server. A stream is live and has no end, so it is left after "
      + "some items; the batch, asked for after that, is the history.",
    fields: [number("count", "Items to wait for", 6, 1, 60, 1)],
    ask: () => ({ method: "GET", path: "live" }),
    leaveAfter: ({ count }) => Number(count),
    fold: (items) => items,
    same: (items, history) => folds.contains(history.data, items),
    foldName: "collect: the history has these items, in one piece and in this order",
  },
];

// The request as `fetch` takes it.
export function toFetch(asked, mode, type) {
  const headers = { ...asked.headers };
  let body = asked.body;
  if (asked.json) {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(asked.modeInBody && mode === "stream" ? { ...asked.json, stream: true } : asked.json);
  }
  if (!asked.modeInBody) headers.Accept = mode === "stream" ? type : "application/json";
  return { url: asked.path, options: { method: asked.method, headers, body } };
}

// The same for EventSource, which can set no header.
export function toEventSource(asked) {
  return { url: `${asked.path}${asked.path.includes("?") ? "&" : "?"}stream=true` };
}
