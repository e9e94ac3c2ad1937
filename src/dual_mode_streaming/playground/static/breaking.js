// A source that breaks, and what a client gets: in a batch, in server-sent events, in lines of JSON.

import { find } from "./dom.js";
import { connected } from "./connections.js";
import { JSON_TYPE, NDJSON, SSE } from "./wire.js";

const COLUMNS = { batch: JSON_TYPE, sse: SSE, ndjson: NDJSON };

export function breaking() {
  async function ask(column, url) {
    const set = (name, text) => { find(`break-${column}-${name}`).textContent = text; };
    const card = find(`break-${column}`);
    card.dataset.state = "running";
    set("status", "…");
    set("body", "");
    set("verdict", "");
    let text = "";
    let status = 0;
    let torn = false;
    await connected(async () => {
      try {
        const response = await fetch(url, { headers: { Accept: COLUMNS[column] }, cache: "no-store" });
        status = response.status;
        set("status", `${status} ${response.statusText}, ${response.headers.get("content-type")}`);
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        for (let part; !(part = await reader.read()).done;) set("body", text += part.value);
      } catch {
        torn = true;
      }
    });
    const [state, verdict] = conclusion(column, status, text, torn);
    card.dataset.state = state;
    set("verdict", verdict);
    if (torn) set("body", `${text}\n✂ the connection was cut`);
  }

  function conclusion(column, status, text, torn) {
    if (status === 0) return ["failed", "There was no answer."];
    if (status >= 400) return ["failed", `An error with a status of its own: ${status}. Any HTTP client sees it.`];
    if (column === "batch") return ["complete", "A complete document."];
    if (column === "sse") {
      if (text.includes("event: done\n")) return ["complete", "Complete: the last event is done."];
      if (text.includes("event: error\n")) return ["failed", "The status had been sent, so the last event tells the error. It is not done, so nobody takes this for complete."];
      return ["failed", "Cut without a word: there is no last event."];
    }
    if (!torn) return ["complete", "Complete: a clean end."];
    return ["failed", "A last line tells the error, and the connection is cut. A browser may throw that line away; what counts is that reading fails."];
  }

  find("break-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const after = find("break-after").value;
    const query = new URLSearchParams({ how: find("break-how").value, items: "4", pace: find("break-pace").value });
    if (after !== "never") query.set("after", after);
    find("break-start").disabled = true;
    find("break").dataset.state = "running";
    await Promise.all(Object.keys(COLUMNS).map((column) => ask(column, `breaking?${query}`)));
    find("break-start").disabled = false;
    find("break").dataset.state = "done";
  });
}
