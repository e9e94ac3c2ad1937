// ai: `generateText` and `streamText` with the providers of OpenAI, of what is like OpenAI, and of Anthropic.

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, jsonSchema, streamText, tool } from "ai";
import { described, MODEL, print, reportOf, url, WEATHER } from "./cases.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;

const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: "none" });
const compatible = createOpenAICompatible({ name: "local", baseURL: `${url}/v1`, includeUsage: true });
const anthropic = createAnthropic({ baseURL: `${url}/v1`, apiKey: "none" });

const settings = (model, { prompt, tools, topP, signal }) => ({
  model,
  prompt,
  topP,
  maxRetries: 0,
  abortSignal: signal,
  tools: tools && { weather: tool({ inputSchema: jsonSchema(WEATHER) }) },
});

function noteEnd(said, finishReason, usage) {
  said.finish = finishReason;
  said.usage = [usage.inputTokens, usage.outputTokens];
}

const modes = (model) => ({
  async batch(said, ask) {
    const answer = await generateText(settings(model, ask));
    said.text = answer.text;
    said.calls = answer.toolCalls.map(({ toolName, input }) => [toolName, input]);
    noteEnd(said, answer.finishReason, answer.usage);
  },
  async stream(said, ask) {
    // Errors are parts of the stream here; without a handler they would be printed as well.
    const answer = streamText({ ...settings(model, ask), onError: () => {} });
    for await (const part of answer.fullStream) {
      if (part.type === "text-delta") {
        said.pieces++;
        said.text += part.text;
      }
      if (part.type === "tool-call") said.calls.push([part.toolName, part.input]);
      if (part.type === "error") said.error ??= described(part.error);
      if (part.type === "finish") noteEnd(said, part.finishReason, part.totalUsage);
    }
  },
});

print([
  await reportOf("ai, openai.chat", ["ai", "@ai-sdk/openai"], modes(openai.chat(MODEL))),
  await reportOf("ai, openai.responses", ["ai", "@ai-sdk/openai"], modes(openai.responses(MODEL))),
  await reportOf("ai, openai-compatible", ["ai", "@ai-sdk/openai-compatible"], modes(compatible(MODEL))),
  await reportOf("ai, anthropic", ["ai", "@ai-sdk/anthropic"], modes(anthropic(MODEL))),
]);
