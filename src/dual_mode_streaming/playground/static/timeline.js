// The race as a picture: one lane for each mode, a mark for each arrival. SVG, with lengths in percent, so it needs no
// measuring and fits any width.

const SVG = "http://www.w3.org/2000/svg";
const LANES = { stream: 16, batch: 52 };
const HEIGHT = 26;
const AXIS = 84;
const STEPS = [10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 60000];

function shape(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text) element.textContent = text;
  return element;
}

const short = (milliseconds) => (milliseconds < 1000 ? `${milliseconds} ms` : `${milliseconds / 1000} s`);

// `race` has for each mode {marks: [ms], end: ms or null, failed}, and `now`, in milliseconds.
export function draw(svg, race) {
  const ends = Object.values(race.lanes).map((lane) => lane.end ?? race.now);
  const span = Math.max(100, ...ends) * 1.04;
  const at = (milliseconds) => `${((100 * milliseconds) / span).toFixed(3)}%`;
  const shapes = [];

  const step = STEPS.find((size) => span / size <= 6) ?? span / 5;
  for (let tick = 0; tick <= span; tick += step) {
    shapes.push(shape("line", { x1: at(tick), x2: at(tick), y1: 8, y2: AXIS, class: "grid" }));
    const anchor = tick === 0 ? "start" : tick > span * 0.93 ? "end" : "middle";
    shapes.push(shape("text", { x: at(tick), y: AXIS + 14, class: "tick", "text-anchor": anchor }, short(tick)));
  }

  for (const [mode, lane] of Object.entries(race.lanes)) {
    const y = LANES[mode];
    const end = lane.end ?? race.now;
    shapes.push(shape("rect", { x: 0, y, width: at(end), height: HEIGHT, rx: 4, class: `wait ${mode}` }));
    for (const mark of lane.marks) {
      shapes.push(shape("rect", { x: at(mark), y, width: 3, height: HEIGHT, rx: 1, class: `mark ${mode}` }));
    }
    if (lane.end !== null) {
      const kind = lane.failed ? "failed" : mode;
      shapes.push(shape("circle", { cx: at(lane.end), cy: y + HEIGHT / 2, r: 6, class: `end ${kind}` }));
    }
  }
  svg.replaceChildren(...shapes);
}
