// The buffer over time, by uPlot.

import uPlot from "./vendor/uplot/uPlot.esm.js";
import { bytes, find } from "./dom.js";

const WINDOW = 150; // points that are shown

// Colours are asked for when they are needed: the scheme may change.
const colour = (name) => getComputedStyle(find(`colour-${name}`)).color;

export class Chart {
  #plot;
  #data = [[], [], []];
  #frame;

  constructor(frame) {
    this.#frame = frame;
    const axis = { stroke: () => colour("soft"), grid: { stroke: () => colour("line"), width: 1 }, ticks: { show: false } };
    this.#plot = new uPlot({
      width: 300,
      height: 190,
      cursor: { show: false },
      legend: { show: false },
      padding: [10, 8, 0, 0],
      scales: { x: { time: false }, bytes: { range: (_, low, high) => [0, Math.max(high || 0, 1e5) * 1.1] }, drops: { range: (_, low, high) => [0, Math.max(high || 0, 10) * 1.1] } },
      axes: [
        { ...axis, size: 30, values: (_, ticks) => ticks.map((tick) => `${tick} s`) },
        { ...axis, scale: "bytes", size: 64, values: (_, ticks) => ticks.map(bytes) },
        { ...axis, scale: "drops", side: 1, size: 56, grid: { show: false } },
      ],
      series: [
        {},
        { scale: "bytes", label: "in the buffer", stroke: () => colour("stream"), fill: () => colour("wash"), width: 2, points: { show: false } },
        { scale: "drops", label: "dropped or conflated", stroke: () => colour("bad"), width: 2, dash: [6, 4], points: { show: false } },
      ],
    }, this.#data, frame);
    new ResizeObserver(() => this.#fit()).observe(frame);
    document.addEventListener("themechange", () => this.#plot.redraw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#plot.redraw());
    this.#fit();
  }

  #fit() {
    const width = this.#frame.clientWidth;
    if (width) this.#plot.setSize({ width, height: 190 });
  }

  clear() {
    this.#data = [[], [], []];
    this.#plot.setData(this.#data);
  }

  add(stats) {
    [stats.seconds, stats.buffered_bytes, stats.dropped + stats.conflated].forEach((value, index) => {
      this.#data[index].push(value);
      if (this.#data[index].length > WINDOW) this.#data[index].shift();
    });
    this.#plot.setData(this.#data);
  }
}
