// The form of the race: the endpoint, its fields, its file; and the same request in other words.

import { copyButton } from "./copy.js";
import { bytes, find, make } from "./dom.js";
import { endpoints } from "./endpoints.js";
import * as snippets from "./snippets.js";
import { tabs } from "./tabs.js";
import { SSE } from "./wire.js";

const stringed = (attributes) =>
  Object.fromEntries(Object.entries(attributes).map(([name, value]) => [name, String(value)]));

// Calls `onChoose` when another endpoint is chosen. Gives {chosen(), values(), showSnippets(asked), needFile()}.
export function raceForm(onChoose) {
  let chosen = endpoints[0];
  let file = null;

  // --- the form ------------------------------------------------------------------------------------

  function values() {
    const entries = chosen.fields.map((field) => [field.name, find(`field-${field.name}`).value]);
    return { ...Object.fromEntries(entries), file };
  }

  function choose(endpoint) {
    chosen = endpoint;
    find("race-about").textContent = endpoint.about;
    find("race-fields").replaceChildren(...endpoint.fields.map(field));
    find("drop").hidden = !endpoint.file;
    showSnippets(endpoint.ask(values()));
    adapt();
    onChoose();
  }

  function field({ name, label, ...attributes }) {
    const input = make("input", { id: `field-${name}`, name, required: "", ...stringed(attributes) });
    input.addEventListener("input", () => showSnippets(chosen.ask(values())));
    return make("label", { class: attributes.type === "text" ? "wide" : "" }, make("span", { text: label }), input);
  }

  // EventSource is for GET, and for its own format; a vendor's endpoint has one format.
  function adapt() {
    const asked = chosen.ask(values());
    const format = find("race-format");
    const reader = find("race-reader");
    format.disabled = Boolean(asked.modeInBody);
    if (asked.modeInBody) format.value = SSE;
    const native = asked.method === "GET" && format.value === SSE;
    reader.querySelector('[value="eventsource"]').disabled = !native;
    if (!native) reader.value = "fetch";
  }

  function showSnippets(asked) {
    const type = find("race-format").value;
    const leave = chosen.leaveAfter?.(values());
    find("code-curl").textContent = snippets.curl(asked, type);
    find("code-python").textContent = snippets.python(asked, type, leave);
    find("code-javascript").textContent = snippets.javascript(asked, type, leave);
  }

  // --- the file ------------------------------------------------------------------------------------

  function take(given) {
    file = given;
    find("drop-name").textContent = `${file.name}, ${bytes(file.size)}`;
    showSnippets(chosen.ask(values()));
  }

  function sampleFile() {
    const rows = Array.from({ length: 60000 }, (_, n) => `${n + 1},item ${n + 1},${(n * 37) % 1000}`);
    rows[1234] = "1235,a field is missing";
    return new File([`id,name,price\n${rows.join("\n")}\n`], "data.csv", { type: "text/csv" });
  }

  const drop = find("drop");
  for (const name of ["dragover", "dragenter"]) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const [given] = event.dataTransfer.files;
    if (given) take(given);
  });
  find("drop-file").addEventListener("change", (event) => {
    const [given] = event.target.files;
    if (given) take(given);
  });
  find("drop-sample").addEventListener("click", () => take(sampleFile()));

  // --- wiring --------------------------------------------------------------------------------------

  find("race-endpoints").append(...endpoints.map((endpoint, index) => {
    const input = make("input", { type: "radio", name: "endpoint", value: endpoint.id, id: `endpoint-${endpoint.id}` });
    input.checked = index === 0;
    input.addEventListener("change", () => choose(endpoint));
    return make("label", {}, input, make("span", { text: endpoint.name }));
  }));
  for (const id of ["race-format", "race-reader"]) {
    find(id).addEventListener("change", () => {
      adapt();
      showSnippets(chosen.ask(values()));
    });
  }
  const languages = tabs(find("languages"));
  copyButton(find("code-copy"), () => find("code").querySelector(':scope > [role="tabpanel"]:not([hidden]) code'));
  languages.select(languages.buttons[0]);
  choose(chosen);

  return {
    chosen: () => chosen,
    values,
    showSnippets,
    needFile: () => {
      if (chosen.file && !file) take(sampleFile());
    },
  };
}
