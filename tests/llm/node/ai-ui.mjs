// ai: what a page uses. `DefaultChatTransport` asks, `readUIMessageStream` reads, and `AbstractChat` is what `useChat` is
// made of, here with a state that no page shows.

import { AbstractChat, DefaultChatTransport, readUIMessageStream, safeValidateUIMessages } from "ai";
import { print, reportOf, url } from "./cases.mjs";

const api = `${url}/api/chat/ui`;
const asking = (text) => ({ id: `user-${text}`, role: "user", parts: [{ type: "text", text }] });

class State {
  status = "ready";
  error = undefined;
  messages = [];
  pushMessage = (message) => (this.messages = [...this.messages, message]);
  popMessage = () => (this.messages = this.messages.slice(0, -1));
  replaceMessage = (index, message) => (this.messages = this.messages.with(index, message));
  snapshot = structuredClone;
}

class Chat extends AbstractChat {
  constructor(id, messages = []) {
    super({ id, state: Object.assign(new State(), { messages }), transport: new DefaultChatTransport({ api }) });
  }
}

const textOf = (message) => message.parts.map((part) => (part.type === "text" ? part.text : "")).join("");

function note(said, message) {
  said.text = textOf(message);
  said.calls = message.parts
    .filter(({ type }) => type.startsWith("tool-"))
    .map(({ type, state, input }) => [type.slice(5), state === "input-available" ? input : null]);
  said.finish = message.metadata?.finishReason ?? null;
  if (message.metadata?.usage) said.usage = [message.metadata.usage.inputTokens, message.metadata.usage.outputTokens];
}

const modes = {
  // No part of the package asks for a batch. But a page may load one, and this is how it would look at it.
  async batch(said, { prompt, topP, signal }) {
    const messages = topP ? [] : [asking(prompt)];
    const body = JSON.stringify({ id: "batch", messages, stream: false });
    const answer = await fetch(api, { method: "POST", body, signal });
    const message = await answer.json();
    if (!answer.ok) throw Object.assign(new Error(message.detail), { status: answer.status });
    const { success, data, error } = await safeValidateUIMessages({ messages: [message] });
    if (!success) throw error;
    note(said, data[0]);
  },
  async stream(said, { prompt, topP, signal }) {
    const transport = new DefaultChatTransport({ api });
    const messages = topP ? [] : [asking(prompt)];
    const trigger = "submit-message";
    const stream = await transport.sendMessages({ chatId: prompt, messages, trigger, abortSignal: signal });
    for await (const message of readUIMessageStream({ stream, terminateOnError: true })) {
      said.pieces++;
      note(said, message);
    }
  },
};

/** Give what a page sees of a chat. */
const shown = (chat) => ({
  status: chat.status,
  error: chat.error?.message ?? null,
  roles: chat.messages.map(({ role }) => role),
  ids: chat.messages.map(({ id }) => id),
  texts: chat.messages.map(textOf),
});

/** Wait until the answer in a chat has begun. */
async function begun(chat) {
  const held = await fetch(`${url}/held`);
  await held.text();
  while (!chat.messages.some(({ role, parts }) => role === "assistant" && parts.some(({ text }) => text))) {
    await new Promise(setImmediate);
  }
}

async function talks() {
  const chat = new Chat("talks");
  await chat.sendMessage({ text: "Hi" });
  await chat.sendMessage({ text: "And then?" });
  return shown(chat);
}

async function callsTools() {
  const chat = new Chat("tools");
  await chat.sendMessage({ text: "tools" });
  const call = chat.lastMessage.parts.find(({ type }) => type === "tool-weather");
  await chat.addToolOutput({ tool: "weather", toolCallId: call.toolCallId, output: { sky: "clear" } });
  await chat.sendMessage();
  return { ...shown(chat), parts: chat.lastMessage.parts.map(({ type, state }) => [type, state ?? null]) };
}

async function fails() {
  const chat = new Chat("fails");
  await chat.sendMessage({ text: "breaks" });
  return shown(chat);
}

/** Ask, leave the page, load it anew: the answer is there from its beginning, and goes on. */
async function resumes() {
  const first = new Chat("resumed");
  const sent = first.sendMessage({ text: "waits" });
  await begun(first);
  const before = shown(first);
  await first.stop();
  await sent;
  const second = new Chat("resumed", first.messages.slice(0, 1));
  const resumed = second.resumeStream();
  while (second.lastMessage.role !== "assistant") await new Promise(setImmediate);
  await fetch(`${url}/open`, { method: "POST" });
  await resumed;
  return { before, after: shown(second) };
}

/** A page without an answer under way: the server says 204. */
async function resumesNothing() {
  const chat = new Chat("nothing", [asking("Hi")]);
  await chat.resumeStream();
  const none = await new DefaultChatTransport({ api }).reconnectToStream({ chatId: "nothing" });
  return { ...shown(chat), none };
}

/** Stop an answer that would go on without its client. */
async function stops() {
  const chat = new Chat("stopped");
  const sent = chat.sendMessage({ text: "stops" });
  await begun(chat);
  const { status } = await fetch(`${api}/stopped/stream`, { method: "DELETE" });
  await sent;
  const none = await new DefaultChatTransport({ api }).reconnectToStream({ chatId: "stopped" });
  return { ...shown(chat), deleted: status, none };
}

print([
  {
    ...(await reportOf("ai, UI message stream", ["ai"], modes)),
    more: {
      talks: await talks(),
      tools: await callsTools(),
      fails: await fails(),
      resumes: await resumes(),
      nothing: await resumesNothing(),
      stops: await stops(),
    },
  },
]);
