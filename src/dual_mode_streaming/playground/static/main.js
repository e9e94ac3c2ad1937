// Puts the parts of the page together.

import "./theme.js";
import { breaking } from "./breaking.js";
import { chat } from "./chat.js";
import { watchConnections } from "./connections.js";
import { bytes, find } from "./dom.js";
import { listen } from "./live.js";
import { pressure } from "./pressure.js";
import { race } from "./race.js";
import { resume } from "./resume.js";
import { tabs } from "./tabs.js";
import { themeButton } from "./theme.js";

const root = document.documentElement;

themeButton(find("theme"));
race();
resume();
const backpressure = pressure();
breaking();
chat();

// --- the panels, one at a time; the address says which ---------------------------------------------

const panels = tabs(find("panels"), {
  onSelect: (button) => {
    const panel = button.getAttribute("aria-controls");
    if (location.hash !== `#${panel}`) history.replaceState(null, "", `#${panel}`);
    if (panel === "pressure") backpressure.shown();
  },
});
function fromAddress() {
  const named = panels.buttons.find((button) => `#${button.getAttribute("aria-controls")}` === location.hash);
  panels.select(named ?? panels.buttons[0]);
}
addEventListener("hashchange", fromAddress);
fromAddress();

// --- the server ------------------------------------------------------------------------------------

let epoch = null;

listen({
  onPulse: (pulse, id) => {
    const now = id.slice(0, id.lastIndexOf("-"));
    if (epoch !== null && now !== epoch) {
      find("notice").textContent = "The server has started anew. Runs and answers that it kept in memory are gone; everything else works as before.";
      find("notice").hidden = false;
    }
    epoch = now;
    find("pulse-cpu").textContent = `${pulse.cpu.toFixed(0)} %`;
    find("pulse-memory").textContent = bytes(pulse.server_memory);
    find("pulse-streams").textContent = String(pulse.open_streams);
    root.dataset.pulses = String(Number(root.dataset.pulses ?? 0) + 1);
  },
  onState: (state) => {
    root.dataset.server = state;
    find("server-state").textContent = state === "live" ? "live" : "no answer";
    if (state === "lost") {
      find("notice").textContent = "The server does not answer. The page tries again by itself.";
      find("notice").hidden = false;
    } else if (find("notice").textContent.startsWith("The server does not")) {
      find("notice").hidden = true;
    }
  },
  onTabs: (count) => {
    find("tabs-shared").textContent = count === null
      ? "Each tab has a connection of its own: sharing one needs https or localhost."
      : `${count} ${count === 1 ? "tab" : "tabs"}, one live connection`;
    root.dataset.tabs = String(count);
  },
});
watchConnections();

// The commands name the server from which the page came.
for (const command of document.querySelectorAll("footer code")) {
  command.textContent = command.textContent.replace("http://localhost:8000/", new URL(".", document.baseURI).href);
}
root.dataset.ready = "true";
