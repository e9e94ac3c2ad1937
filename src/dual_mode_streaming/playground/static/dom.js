// Small helpers for elements and figures.

export const find = (id) => document.getElementById(id);

export function make(tag, options = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") element.className = value;
    else if (name === "text") element.textContent = value;
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export function seconds(milliseconds) {
  if (milliseconds === null || milliseconds === undefined) return "–";
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(2)} s`;
}

export function bytes(count) {
  let unit = 0;
  while (count >= 1000 && unit < 3) {
    count /= 1000;
    unit += 1;
  }
  return `${count.toFixed(unit && count < 10 ? 1 : 0)} ${["B", "kB", "MB", "GB"][unit]}`;
}

export const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

// What a value looks like, shortened: a batch of metrics may have a megabyte.
export function pretty(value, limit = 4000) {
  const text = JSON.stringify(value, null, 2) ?? String(value);
  return text.length > limit ? `${text.slice(0, limit)}\n… ${text.length - limit} characters more` : text;
}

// Not crypto.randomUUID, which browsers keep for https and localhost.
export function randomName() {
  return [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// The storage of this tab; it survives a reload. Without it the page works, but forgets.
export const memory = {
  get(name) {
    try {
      return JSON.parse(sessionStorage.getItem(name));
    } catch {
      return null;
    }
  },
  set(name, value) {
    try {
      if (value === null) sessionStorage.removeItem(name);
      else sessionStorage.setItem(name, JSON.stringify(value));
    } catch {
      // it is full, or switched off
    }
  },
};
