// Asks clients the same questions, each in all of its modes, and prints as JSON what they reported.
// The address of the server is the argument of the script.

import { readFileSync } from "node:fs";

export const url = process.argv[2];
export const MODEL = "simulator";
export const WEATHER = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer", minimum: 1, maximum: 7 } },
  required: ["city", "days"],
  additionalProperties: false,
};

const CASES = {
  plain: { prompt: "Hi" },
  tools: { prompt: "tools", tools: true },
  refused: { prompt: "Hi", topP: 5 },
  limited: { prompt: "limited" },
  breaks: { prompt: "breaks" },
  cut: { prompt: "cut" },
  leaves: { prompt: "leaves" },
};

/**
 * Give what a client reported of all cases.
 *
 * `modes` has a function for each mode. It gets what to fill, so that what came before an error is seen as well:
 * `text`, `pieces` (how many), `calls` (name and arguments), `usage` (input and output), `finish`; and what to ask.
 */
export async function reportOf(client, packages, modes) {
  const report = { client, version: packages.map(versionOf).join(", "), modes: {} };
  for (const [mode, ask] of Object.entries(modes)) {
    report.modes[mode] = {};
    for (const [name, asked] of Object.entries(CASES)) report.modes[mode][name] = await answered(ask, asked);
  }
  return report;
}

/** Give what one question led to. */
export async function answered(ask, asked) {
  const said = { text: "", pieces: 0, calls: [], usage: null, finish: null, error: null };
  const controller = new AbortController();
  // The server tells when a model is held in the middle of its answer. Only then the client leaves.
  const left = asked.prompt === "leaves" && fetch(`${url}/held`).then(() => controller.abort());
  try {
    await ask(said, { ...asked, signal: controller.signal });
  } catch (error) {
    said.error = described(error);
  }
  await left;
  return said;
}

export function described(error) {
  const status = error.status ?? error.statusCode ?? error.status_code ?? null;
  return { name: error.constructor.name, status, message: String(error.message) };
}

function versionOf(name) {
  const file = new URL(`node_modules/${name}/package.json`, import.meta.url);
  return `${name} ${JSON.parse(readFileSync(file, "utf8")).version}`;
}

/** Print what the test reads. */
export function print(found) {
  console.log(JSON.stringify(found));
}
