// @anthropic-ai/sdk: Messages as a batch, as a stream, and by the helper that folds the stream.

import Anthropic from "@anthropic-ai/sdk";
import { MODEL, print, reportOf, url, WEATHER } from "./cases.mjs";

const client = new Anthropic({ baseURL: url, apiKey: "none", maxRetries: 0 });

const body = ({ prompt, tools, topP }) => ({
  model: MODEL,
  max_tokens: 1000,
  messages: [{ role: "user", content: prompt }],
  top_p: topP,
  tools: tools && [{ name: "weather", input_schema: WEATHER }],
});

function note(said, message) {
  said.text = message.content.map((block) => block.text ?? "").join("");
  said.calls = message.content.filter(({ type }) => type === "tool_use").map(({ name, input }) => [name, input]);
  said.finish = message.stop_reason;
  said.usage = [message.usage.input_tokens, message.usage.output_tokens];
}

print([
  await reportOf("@anthropic-ai/sdk", ["@anthropic-ai/sdk"], {
    async batch(said, ask) {
      note(said, await client.messages.create(body(ask), { signal: ask.signal }));
    },
    async stream(said, ask) {
      const calls = [];
      for await (const event of await client.messages.create({ ...body(ask), stream: true }, { signal: ask.signal })) {
        if (event.type === "message_start") said.usage = [event.message.usage.input_tokens, 0];
        if (event.type === "content_block_start" && event.content_block.type === "tool_use") {
          calls.push([event.content_block.name, ""]);
        }
        if (event.delta?.type === "input_json_delta") calls.at(-1)[1] += event.delta.partial_json;
        if (event.delta?.type === "text_delta") {
          said.pieces++;
          said.text += event.delta.text;
        }
        if (event.type === "message_delta") {
          said.finish = event.delta.stop_reason;
          said.usage = [event.usage.input_tokens ?? said.usage[0], event.usage.output_tokens];
        }
      }
      said.calls = calls.map(([name, text]) => [name, JSON.parse(text)]);
    },
    async ".stream()"(said, ask) {
      const stream = client.messages.stream(body(ask), { signal: ask.signal });
      stream.on("text", (delta, snapshot) => {
        said.pieces++;
        said.text = snapshot;
      });
      note(said, await stream.finalMessage());
    },
  }),
]);
