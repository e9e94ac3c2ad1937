// A run, followed by an EventSource whose wire can be cut. What it has seen is counted, so that nothing can be missing or
// come twice unnoticed. The run is kept in this tab, so a page that is loaded anew follows it again.

import { allTaken, connected } from "./connections.js";
import { find, make, memory, pretty, randomName } from "./dom.js";
import { equal, summed } from "./folds.js";
import { readBatch } from "./wire.js";

export function resume() {
  let run = null; // {url, topics, wire}
  let source = null;
  let seen = new Map();
  let twice = 0;
  let connection = 0;
  let lastId = "";
  let release = () => {};

  function note(kind, text) {
    find("resume-log").append(make("p", { class: kind, text }));
    find("resume-log").scrollTop = find("resume-log").scrollHeight;
  }

  function count() {
    const newest = Math.max(0, ...seen.keys());
    find("resume-received").textContent = String(seen.size);
    find("resume-missing").textContent = String(newest - seen.size);
    find("resume-twice").textContent = String(twice);
    find("resume-last").textContent = lastId || "–";
  }

  function buttons(state) {
    find("resume-start").disabled = state !== "idle";
    find("resume-cut").disabled = state !== "open";
    find("resume-cancel").disabled = state === "idle";
    find("resume").dataset.state = state;
  }

  function cells(topics) {
    const list = Array.from({ length: topics }, (_, index) => make("li", { text: String(index + 1) }));
    find("resume-cells").replaceChildren(...list);
  }

  async function start() {
    const topics = Number(find("resume-topics").value);
    buttons("starting");
    try {
      const begun = await fetch(`reports?topics=${topics}&pace=${find("resume-pace").value}`, {
        method: "POST",
        headers: { Prefer: "respond-async" },
      });
      if (begun.status !== 202) throw new Error(`status ${begun.status}`);
      run = { url: begun.headers.get("location"), topics, wire: randomName() };
      memory.set("run", run);
      follow(`POST /reports: 202, the run is at ${run.url}`);
    } catch (error) {
      verdict("failed", `The run was not begun: ${error.message}`);
      buttons("idle");
    }
  }

  function follow(why) {
    seen = new Map();
    twice = connection = 0;
    lastId = "";
    find("resume-log").replaceChildren();
    verdict("", "");
    cells(run.topics);
    count();
    note("plain", why);
    // The place among the six connections is held for as long as the run is followed.
    connected(() => new Promise((done) => { release = done; }));
    source = new EventSource(`${run.url}?stream=true&wire=${run.wire}`);
    buttons("connecting");
    source.addEventListener("open", () => {
      connection += 1;
      note("open", lastId
        ? `Connection ${connection}: EventSource came back by itself with Last-Event-ID: ${lastId}`
        : `Connection ${connection}: from the beginning`);
      buttons("open");
    });
    source.addEventListener("message", (event) => {
      const item = JSON.parse(event.data);
      if (seen.has(item.number)) twice += 1;
      seen.set(item.number, item);
      lastId = event.lastEventId;
      const cell = find("resume-cells").children[item.number - 1];
      if (cell) {
        cell.className = `got c${((connection - 1) % 4) + 1}`;
        cell.title = `id ${event.lastEventId}, connection ${connection}: ${item.topic}`;
      }
      count();
    });
    source.addEventListener("done", (event) => {
      lastId = event.lastEventId;
      note("done", `done, with the id ${lastId}: ${event.data}`);
      finish();
    });
    source.addEventListener("error", (event) => {
      if (event.data) {
        note("failed", `error: ${event.data}`);
        end();
        verdict("failed", JSON.parse(event.data).title);
      } else if (source.readyState === EventSource.CLOSED) {
        refused();
      } else {
        note("cut", `The connection is gone after the id ${lastId || "(none yet)"}. The work goes on.`);
        buttons("connecting");
      }
    });
  }

  // EventSource does not tell why it was refused. It is also closed when the page goes, and then this comes to nothing.
  async function refused() {
    buttons("connecting");
    const answer = await fetch(run.url, { method: "HEAD" }).catch(() => null);
    if (answer?.status === 404 || answer?.status === 410) {
      note("failed", "The server does not know this run any more (it may have started anew).");
      end();
      verdict("failed", "The run is gone.");
    } else {
      setTimeout(() => follow("The server has refused the connection. The run is followed anew."), 1000);
    }
  }

  function end() {
    source?.close();
    source = null;
    release();
    memory.set("run", null);
    buttons("idle");
  }

  async function finish() {
    const items = [...seen.keys()].sort((a, b) => a - b).map((number) => seen.get(number));
    end();
    try {
      const batch = await readBatch({ url: run.url, options: { headers: { Accept: "application/json" } } });
      const folded = summed(items);
      const same = equal(folded, batch.value) && twice === 0 && items.length === run.topics;
      verdict(
        same ? "equal" : "different",
        `${same ? "Equal" : "Not equal"}: the fold of what came over ${connection} connection${connection === 1 ? "" : "s"}, `
          + `against the batch of the same run: ${pretty(batch.value)}`,
      );
    } catch (error) {
      verdict("failed", error.message);
    }
  }

  function verdict(state, text) {
    find("resume-verdict").dataset.state = state;
    find("resume-verdict").textContent = text;
  }

  find("resume-form").addEventListener("submit", (event) => {
    event.preventDefault();
    start();
  });
  find("resume-cut").addEventListener("click", async () => {
    find("resume-cut").disabled = true;
    await fetch(`wires/${run.wire}/cut`, { method: "POST" });
  });
  find("resume-cancel").addEventListener("click", async () => {
    if (await allTaken()) {
      note("failed", "The page has left the run, to have a connection for the request that cancels it.");
      end();
    }
    await fetch(run.url, { method: "DELETE" });
  });

  run = memory.get("run");
  buttons("idle");
  cells(Number(find("resume-topics").value));
  if (run) follow("This page was loaded anew. The run went on; it is followed from its beginning.");
}
