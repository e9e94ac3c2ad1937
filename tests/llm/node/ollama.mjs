// ollama: chat and generate, as a batch and as a stream.

import { Ollama } from "ollama";
import { MODEL, print, reportOf, url, WEATHER } from "./cases.mjs";

const client = new Ollama({ host: url });

// A stream can be aborted when it has begun, not before.
function leaving(stream, { signal }) {
  const leave = () => stream.abort();
  if (signal.aborted) leave();
  signal.addEventListener("abort", leave);
  return stream;
}

// A batch cannot be aborted at all. It is left by what carries it.
function batchClientOf({ signal }) {
  return new Ollama({ host: url, fetch: (address, options) => fetch(address, { ...options, signal }) });
}

function note(said, text, answer) {
  if (text) said.pieces++;
  said.text += text;
  for (const { function: call } of answer.message?.tool_calls ?? []) said.calls.push([call.name, call.arguments]);
  if (answer.done) {
    said.finish = answer.done_reason;
    said.usage = [answer.prompt_eval_count, answer.eval_count];
  }
}

const options = ({ topP }) => (topP === undefined ? {} : { top_p: topP });
const chat = (ask) => ({
  model: MODEL,
  messages: [{ role: "user", content: ask.prompt }],
  options: options(ask),
  tools: ask.tools && [{ type: "function", function: { name: "weather", description: "", parameters: WEATHER } }],
});
const generate = (ask) => ({ model: MODEL, prompt: ask.prompt, options: options(ask) });

print([
  await reportOf("ollama, chat", ["ollama"], {
    async batch(said, ask) {
      const answer = await batchClientOf(ask).chat(chat(ask));
      note(said, answer.message.content, answer);
    },
    async stream(said, ask) {
      for await (const answer of leaving(await client.chat({ ...chat(ask), stream: true }), ask)) {
        note(said, answer.message.content, answer);
      }
    },
  }),
  await reportOf("ollama, generate", ["ollama"], {
    async batch(said, ask) {
      const answer = await batchClientOf(ask).generate(generate(ask));
      note(said, answer.response, answer);
    },
    async stream(said, ask) {
      for await (const answer of leaving(await client.generate({ ...generate(ask), stream: true }), ask)) {
        note(said, answer.response, answer);
      }
    },
  }),
]);
