// One endpoint, asked in both modes at once; and whether they agree.

import { bytes, find, plural, pretty, seconds } from "./dom.js";
import { toEventSource, toFetch } from "./endpoints.js";
import { equal } from "./folds.js";
import { Frames } from "./frames.js";
import { raceForm } from "./raceform.js";
import { draw } from "./timeline.js";
import { explained, readBatch, readByEventSource, readByFetch, SSE } from "./wire.js";

const MARKS = 600; // more would not be seen

const lane = () => ({ marks: [], end: null, failed: false });

export function race() {
  const frames = new Frames(find("frames"), find("frames-help"));
  const form = raceForm(clear);
  let chosen = form.chosen();
  let stop = null;

  // --- the race ------------------------------------------------------------------------------------

  function clear() {
    frames.clear();
    find("race-result").dataset.state = "idle";
    find("race-verdict").textContent = "";
    find("timeline").setAttribute("aria-label", "Timeline: nothing has arrived yet");
    draw(find("timeline"), { now: 1000, lanes: { stream: lane(), batch: lane() } });
    for (const mode of ["stream", "batch"]) {
      for (const name of ["status", "first", "total", "bytes", "items"]) find(`${mode}-${name}`).textContent = "–";
      find(`${mode}-value`).textContent = "";
    }
  }

  async function run() {
    clear();
    form.needFile();
    chosen = form.chosen();
    const given = form.values();
    const stopping = new AbortController();
    stop = () => stopping.abort();
    const lanes = { stream: lane(), batch: lane() };
    const result = find("race-result");
    result.dataset.state = "running";
    toggle(true);
    let start = performance.now();
    let frame = requestAnimationFrame(function paint() {
      draw(find("timeline"), { now: performance.now() - start, lanes });
      frame = requestAnimationFrame(paint);
    });
    try {
      const begun = await chosen.prepare?.(given);
      const asked = chosen.ask(given, begun);
      form.showSnippets(asked);
      start = performance.now();
      const stream = streamed(asked, lanes.stream, stopping.signal);
      // Of a channel the batch is the history, so it is asked for after that.
      if (chosen.leaveAfter) await stream.catch(() => {});
      const batch = batched(asked, lanes.batch, stopping.signal, performance.now() - start);
      const [items, value] = await Promise.allSettled([stream, batch]);
      judge(items, value);
    } catch (error) {
      say("failed", explained(error));
    } finally {
      cancelAnimationFrame(frame);
      draw(find("timeline"), { now: performance.now() - start, lanes });
      describe(lanes);
      toggle(false);
    }
  }

  async function streamed(asked, lane, signal) {
    const items = [];
    const type = find("race-format").value;
    const native = find("race-reader").value === "eventsource";
    const leaving = new AbortController();
    signal.addEventListener("abort", () => leaving.abort());
    const enough = chosen.leaveAfter?.(form.values()) ?? Infinity;
    let first = null;
    let count = null;
    let last = 0;
    let left = false;
    const show = () => {
      find("stream-first").textContent = seconds(first);
      find("stream-total").textContent = seconds(lane.end);
      find("stream-items").textContent = items.length.toLocaleString("en");
      find("stream-bytes").textContent = count === null ? "not shown" : bytes(count);
    };
    const began = performance.now();
    try {
      const read = native ? readByEventSource : readByFetch;
      const request = native ? toEventSource(asked) : toFetch(asked, "stream", type);
      const result = await read(request, {
        signal: leaving.signal,
        onOpen: () => { find("stream-status").textContent = "200"; },
        onFrame: (frame, sofar) => {
          frames.add(frame, asked.modeInBody || native ? SSE : type);
          count = sofar.bytes;
          last = frame.at;
          if (frame.kind === "item" && items.length < enough) {
            first ??= frame.at;
            items.push(frame.value);
            if (lane.marks.length < MARKS) lane.marks.push(frame.at);
          }
          show();
          if (items.length >= enough) {
            left = true;
            leaving.abort();
          }
        },
      });
      count = result.bytes;
      if (!result.complete) throw new Error(result.problem ? `failed: ${result.problem.title}` : "it was cut");
    } catch (error) {
      if (!left) {
        lane.failed = true;
        find("stream-status").textContent = explained(error);
        throw error;
      }
    } finally {
      lane.end = left ? last : performance.now() - began;
      show();
    }
    return items;
  }

  async function batched(asked, lane, signal, offset) {
    const began = performance.now();
    try {
      const batch = await readBatch(toFetch(asked, "batch"), { signal });
      lane.end = offset + batch.total;
      lane.marks.push(lane.end);
      find("batch-status").textContent = String(batch.status);
      find("batch-first").textContent = seconds(batch.first);
      find("batch-total").textContent = seconds(batch.total);
      find("batch-bytes").textContent = bytes(batch.bytes);
      find("batch-items").textContent = "one document";
      return batch.value;
    } catch (error) {
      lane.end = offset + performance.now() - began;
      lane.failed = true;
      find("batch-status").textContent = explained(error);
      throw error;
    }
  }

  // --- the verdict ---------------------------------------------------------------------------------

  function judge(stream, batch) {
    if (stream.status === "rejected" || batch.status === "rejected") {
      const [error, other] = [stream, batch].filter((one) => one.status === "rejected").map((one) => one.reason);
      const both = other !== undefined && error.status !== undefined && error.status === other.status;
      say("failed", both ? `Both modes answer ${explained(error)}` : `It did not come to its end. ${explained(error)}`);
      return;
    }
    const folded = chosen.fold(stream.value);
    find("stream-value").textContent = pretty(folded);
    find("batch-value").textContent = pretty(batch.value);
    const plain = (value) => value;
    const compare = chosen.compare ?? plain;
    const same = chosen.same
      ? chosen.same(folded, batch.value)
      : equal(compare(folded), (chosen.compareBatch ?? compare)(batch.value));
    const what = `${plural(stream.value.length, "item")}, folded by the page (${chosen.foldName})`;
    say(same ? "equal" : "different", `${same ? "Equal" : "Not equal"}: ${what}, against the batch body.`);
  }

  function say(state, text) {
    find("race-result").dataset.state = state;
    find("race-verdict").textContent = text;
  }

  function describe(lanes) {
    const { stream, batch } = lanes;
    const told = `Stream: ${plural(stream.marks.length, "arrival")} from ${seconds(stream.marks[0])} on, end at `
      + `${seconds(stream.end)}. Batch: everything at ${seconds(batch.end)}.`;
    find("timeline").setAttribute("aria-label", `Timeline. ${told}`);
  }

  function toggle(running) {
    find("race-start").disabled = running;
    find("race-stop").disabled = !running;
    for (const input of find("race-form").querySelectorAll("fieldset input")) input.disabled = running;
  }

  find("race-form").addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  find("race-stop").addEventListener("click", () => stop?.());
}
