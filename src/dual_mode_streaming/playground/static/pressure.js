// Backpressure: a producer, a bounded buffer with a policy, and a reader that can be throttled.

import { Chart } from "./chart.js";
import { bytes, find } from "./dom.js";
import { explained, readByFetch, Refused } from "./wire.js";

const POLICIES = {
  drop_oldest: "Full: the oldest items fall out. The reader is told how many are missing, and then gets what is new.",
  drop_newest: "Full: new items are not taken. The reader gets what it holds on to, and is told what came after it in vain.",
  latest: "Of each of 50 sensors only the newest reading waits: an older one is of no use to anybody.",
  block: "Full: publish() waits. The producer is as slow as its slowest reader, and nothing is lost.",
  disconnect: "Full: this reader is ended, with an error. It may come back and take what the history still has.",
};

// What the slider says, in bytes a second. 0 reads nothing, and the last stop reads as fast as it can.
const SPEEDS = [0, 100_000, 500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000, 20_000_000, Infinity];

// Large items, so that the way is full after seconds. Of them 125 find room in the buffer.
const SIZES = { size: 32_000, max_items: 500, max_bytes: 4_000_000 };

export function pressure() {
  const speed = find("pressure-speed");
  let chart = null;
  let hose = null;
  let stop = () => {};
  let wake = () => {};
  let read = 0;
  let delivered = 0;
  let gaps = 0;
  let missed = 0;
  let start = { memory: null };

  const allowed = () => SPEEDS[Number(speed.value)];

  function showSpeed() {
    const text = allowed() === 0 ? "paused" : allowed() === Infinity ? "as fast as it can" : `${bytes(allowed())} a second`;
    find("pressure-speed-value").textContent = text;
    speed.setAttribute("aria-valuetext", text);
    wake();
  }

  // The reader's own slowness: it takes no more from the network until so much time has passed.
  async function pace(count, signal) {
    let budget = count;
    while (budget > 0 && !signal.aborted) {
      if (allowed() === Infinity) return;
      const before = performance.now();
      await new Promise((resolve) => {
        wake = resolve;
        if (allowed() > 0) setTimeout(resolve, Math.min(100, (1000 * budget) / allowed()));
        signal.addEventListener("abort", resolve);
      });
      budget -= ((performance.now() - before) / 1000) * Math.min(allowed(), 1e12);
    }
  }

  function show(stats) {
    start.memory ??= stats.server_memory;
    const delta = stats.server_memory - start.memory;
    const figures = {
      published: stats.published,
      delivered: stats.delivered,
      buffered: `${stats.buffered_items} (${bytes(stats.buffered_bytes)})`,
      dropped: stats.dropped,
      conflated: stats.conflated,
      memory: `${bytes(stats.server_memory)} (${delta < 0 ? "−" : "+"}${bytes(Math.abs(delta))})`,
    };
    for (const [name, value] of Object.entries(figures)) {
      find(`pressure-${name}`).textContent = typeof value === "number" ? value.toLocaleString("en") : value;
    }
    delivered = stats.delivered;
    showRead();
    chart.add(stats);
  }

  function showRead() {
    find("pressure-read").textContent = read.toLocaleString("en");
    find("pressure-underway").textContent = Math.max(0, delivered - read).toLocaleString("en");
    find("pressure-gaps").textContent = gaps ? `${gaps} (${missed.toLocaleString("en")} items)` : "0";
  }

  function say(state, text) {
    find("pressure").dataset.state = state;
    find("pressure-status").textContent = text;
  }

  function toggle(running) {
    find("pressure-start").disabled = running;
    find("pressure-stop").disabled = !running;
    find("pressure-policy").disabled = running;
  }

  async function run() {
    const stopping = new AbortController();
    stop = () => stopping.abort();
    read = delivered = gaps = missed = 0;
    start = { memory: null };
    chart ??= new Chart(find("pressure-chart"));
    chart.clear();
    toggle(true);
    let watching = null;
    try {
      const opened = await fetch("hoses", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ ...SIZES, policy: find("pressure-policy").value, rate: Number(find("pressure-rate").value) }),
      });
      if (!opened.ok) throw new Refused(opened.status, await opened.json());
      hose = (await opened.json()).id;
      say("running", "running");
      watching = new EventSource(`hoses/${hose}/stats?stream=true`);
      watching.addEventListener("message", (event) => show(JSON.parse(event.data)));
      watching.addEventListener("done", () => watching.close());
      const result = await readByFetch(
        { url: `hoses/${hose}`, options: { headers: { Accept: "text/event-stream" } } },
        {
          signal: stopping.signal,
          pace: (count) => pace(count, stopping.signal),
          onFrame: (frame) => {
            if (frame.kind === "item") read += 1;
            if (frame.kind === "gap") {
              gaps += 1;
              missed += frame.value.missed ?? 0;
            }
            showRead();
          },
        },
      );
      if (result.problem) say("ended", `The server ended this reader: ${result.problem.detail ?? result.problem.title} (${result.problem.code})`);
      else say("ended", "The stream has ended.");
    } catch (error) {
      say("ended", error.name === "AbortError" ? "Stopped." : `Ended: ${explained(error)}.`);
    } finally {
      // The last statistics come when the server has seen that its reader is gone.
      const ending = watching;
      setTimeout(() => ending?.close(), 3000);
      hose = null;
      toggle(false);
    }
  }

  find("pressure-form").addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  find("pressure-stop").addEventListener("click", () => stop());
  find("pressure-policy").addEventListener("change", () => {
    find("pressure-about").textContent = POLICIES[find("pressure-policy").value];
  });
  find("pressure-about").textContent = POLICIES[find("pressure-policy").value];
  speed.max = String(SPEEDS.length - 1);
  speed.value = speed.max;
  speed.addEventListener("input", showSpeed);
  const rate = find("pressure-rate");
  const showRate = () => {
    const text = `${rate.value} items of 32 kB a second`;
    find("pressure-rate-value").textContent = text;
    rate.setAttribute("aria-valuetext", text);
  };
  rate.addEventListener("input", showRate);
  rate.addEventListener("change", () => {
    if (!hose) return;
    fetch(`hoses/${hose}`, {
      method: "PATCH",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ rate: Number(rate.value) }),
    });
  });
  showRate();
  showSpeed();
  return { shown: () => { chart ??= new Chart(find("pressure-chart")); } };
}
