"use strict";

// Without this file the page still lists every command. With it: the host is the one that served the page, each
// command has a copy button, and samples can be watched as they arrive.

const base = new URL(".", document.baseURI).href.replace(/\/$/, "");

for (const command of document.querySelectorAll("dd code")) {
  command.textContent = command.textContent.replace("http://localhost:8000", base);
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  const label = command.closest("dd").previousElementSibling.textContent;
  const heading = command.closest("section").querySelector("h2").textContent;
  button.setAttribute("aria-label", `Copy: ${heading}, ${label}`);
  button.addEventListener("click", () => copy(command, button));
  command.closest("dd").append(button);
}

async function copy(command, button) {
  try {
    await navigator.clipboard.writeText(command.textContent);
    button.textContent = "Copied";
  } catch {
    // Browsers lend the clipboard only to https and localhost. Elsewhere the command is selected, ready for Ctrl+C.
    getSelection().selectAllChildren(command);
    button.textContent = "Selected";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

const watch = document.getElementById("watch");
const state = document.getElementById("status");
const arrivals = document.getElementById("arrivals");
watch.hidden = false;
watch.addEventListener("click", () => {
  const rows = arrivals.querySelector("tbody");
  const start = performance.now();
  const seconds = () => `${((performance.now() - start) / 1000).toFixed(2)} s`;
  const source = new EventSource(`${base}/metrics?seconds=5&interval=0.5&stream=true`);
  rows.replaceChildren();
  arrivals.hidden = false;
  watch.disabled = true;
  state.textContent = "waiting for the first sample";

  const end = (text) => {
    source.close();
    watch.disabled = false;
    watch.textContent = "Watch again";
    state.textContent = text;
  };
  source.addEventListener("message", (event) => {
    rows.append(row(seconds(), JSON.parse(event.data)));
    state.textContent = "watching";
  });
  source.addEventListener("done", (event) => end(`${JSON.parse(event.data).items} samples in ${seconds()}`));
  source.addEventListener("error", (event) => {
    // Both the library's error event, which has data, and the browser's own, which has none.
    end(event.data ? JSON.parse(event.data).title : "the connection was lost");
  });
});

function row(arrived, sample) {
  const line = document.createElement("tr");
  line.append(
    cell(`+${arrived}`),
    cell(meter(sample.cpu.percent), `${sample.cpu.percent.toFixed(1)} %`),
    cell(meter(sample.memory.percent), `${sample.memory.percent.toFixed(1)} %`),
    cell(rate(sample.disk.read_per_second, sample.disk.written_per_second)),
    cell(rate(sample.network.received_per_second, sample.network.sent_per_second)),
  );
  return line;
}

function cell(...content) {
  const cell = document.createElement("td");
  cell.append(...content);
  return cell;
}

function meter(percent) {
  const meter = document.createElement("meter");
  meter.max = 100;
  meter.value = percent;
  meter.setAttribute("aria-hidden", "true"); // the number stands beside it
  return meter;
}

function rate(into, out) {
  return into === null ? "not told" : `${bytes(into)} in, ${bytes(out)} out`;
}

function bytes(count) {
  let unit = 0;
  while (count >= 1000 && unit < 3) {
    count /= 1000;
    unit += 1;
  }
  return `${count.toFixed(unit && count < 10 ? 1 : 0)} ${["B", "kB", "MB", "GB"][unit]}/s`;
}
