// openai: Chat Completions and Responses, each as a batch, as a stream, and by the helper that folds the stream.

import OpenAI from "openai";
import { MODEL, print, reportOf, url, WEATHER } from "./cases.mjs";

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });

// --- chat ---------------------------------------------------------------------------------------

const chat = ({ prompt, tools, topP }) => ({
  model: MODEL,
  messages: [{ role: "user", content: prompt }],
  top_p: topP,
  tools: tools && [{ type: "function", function: { name: "weather", parameters: WEATHER } }],
});

function noteCompletion(said, completion) {
  const { message, finish_reason } = completion.choices[0];
  said.text = message.content ?? "";
  said.calls = (message.tool_calls ?? []).map(({ function: { name, arguments: text } }) => [name, JSON.parse(text)]);
  said.finish = finish_reason;
  noteChatUsage(said, completion.usage);
}

function noteChatUsage(said, usage) {
  if (usage) said.usage = [usage.prompt_tokens, usage.completion_tokens];
}

const chatModes = {
  async batch(said, ask) {
    noteCompletion(said, await client.chat.completions.create(chat(ask), { signal: ask.signal }));
  },
  async stream(said, ask) {
    const body = { ...chat(ask), stream: true, stream_options: { include_usage: true } };
    const calls = [];
    for await (const { choices, usage } of await client.chat.completions.create(body, { signal: ask.signal })) {
      noteChatUsage(said, usage);
      for (const { delta, finish_reason } of choices) {
        if (delta.content) said.pieces++;
        said.text += delta.content ?? "";
        said.finish = finish_reason ?? said.finish;
        for (const { index, function: part } of delta.tool_calls ?? []) {
          calls[index] ??= ["", ""];
          calls[index][0] += part.name ?? "";
          calls[index][1] += part.arguments ?? "";
        }
      }
    }
    said.calls = calls.map(([name, text]) => [name, JSON.parse(text)]);
  },
  async ".stream()"(said, ask) {
    const body = { ...chat(ask), stream_options: { include_usage: true } };
    const stream = client.chat.completions.stream(body, { signal: ask.signal });
    stream.on("content", (delta, snapshot) => {
      said.pieces++;
      said.text = snapshot;
    });
    noteCompletion(said, await stream.finalChatCompletion());
  },
};

// --- responses ----------------------------------------------------------------------------------

const responses = ({ prompt, tools, topP }) => ({
  model: MODEL,
  input: prompt,
  top_p: topP,
  tools: tools && [{ type: "function", name: "weather", parameters: WEATHER, strict: true }],
});

function noteResponse(said, response) {
  const calls = response.output.filter(({ type }) => type === "function_call");
  said.text = response.output_text;
  said.calls = calls.map(({ name, arguments: text }) => [name, JSON.parse(text)]);
  said.finish = response.status;
  said.usage = [response.usage.input_tokens, response.usage.output_tokens];
}

const responsesModes = {
  async batch(said, ask) {
    noteResponse(said, await client.responses.create(responses(ask), { signal: ask.signal }));
  },
  async stream(said, ask) {
    const items = [];
    for await (const event of await client.responses.create({ ...responses(ask), stream: true }, { signal: ask.signal })) {
      if (event.type === "response.output_text.delta") {
        said.pieces++;
        said.text += event.delta;
      } else if (event.type === "response.output_item.done" && event.item.type === "function_call") {
        items.push([event.item.name, JSON.parse(event.item.arguments)]);
      } else if (event.type === "response.completed") {
        said.finish = event.response.status;
        said.usage = [event.response.usage.input_tokens, event.response.usage.output_tokens];
      }
    }
    said.calls = items;
  },
  async ".stream()"(said, ask) {
    const stream = client.responses.stream(responses(ask), { signal: ask.signal });
    stream.on("response.output_text.delta", ({ delta }) => {
      said.pieces++;
      said.text += delta;
    });
    noteResponse(said, await stream.finalResponse());
  },
};

print([
  await reportOf("openai, Chat Completions", ["openai"], chatModes),
  await reportOf("openai, Responses", ["openai"], responsesModes),
]);
