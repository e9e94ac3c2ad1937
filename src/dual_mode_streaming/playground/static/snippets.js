// The request in other words: for curl, for the Python client, for JavaScript. Each asks in both modes.

const quoted = (text) => `'${String(text).replaceAll("'", `'\\''`)}'`;
const full = (path) => new URL(path, document.baseURI).href;
const url = (asked) => new URL(asked.path, document.baseURI);
const streamed = (asked) => ({ ...asked.json, stream: true });

export function curl(asked, type) {
  const place = quoted(url(asked).href);
  const method = asked.method === "GET" ? [] : ["-X", asked.method];
  const said = (body) => {
    if (asked.json) return ["-H 'Content-Type: application/json'", "-d", quoted(JSON.stringify(body))];
    return asked.fileName ? ["-H 'Content-Type: text/csv'", "-T", quoted(asked.fileName)] : [];
  };
  const accept = asked.modeInBody ? [] : [`-H 'Accept: ${type}'`];
  const begin = asked.begin
    ? ["# begin it; the answer says where it is", `curl -X POST -H 'Prefer: respond-async' ${quoted(full(asked.begin))}`, ""]
    : [];
  return [
    ...begin,
    "# all at once",
    ["curl", ...method, ...said(asked.json), place].join(" "),
    "",
    "# as it is made",
    ["curl -N", ...method, ...accept, ...said(streamed(asked)), place].join(" "),
  ].join("\n");
}

// JSON to a Python literal: the words are different, and nothing else.
function literal(value) {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") {
    return `{${Object.entries(value).map(([key, one]) => `${JSON.stringify(key)}: ${literal(one)}`).join(", ")}}`;
  }
  return JSON.stringify(value);
}

export function python(asked, type, leaveAfter) {
  const { origin, pathname, search } = url(asked);
  const place = asked.begin ? 'begun["url"]' : JSON.stringify(pathname + search);
  const format = asked.modeInBody || type === "text/event-stream" ? "" : `, media_type=${JSON.stringify(type)}`;
  const head = `"${asked.method}", ${place}`;
  const lines = ["import asyncio"];
  if (asked.fileName) lines.push("from pathlib import Path");
  lines.push("", "from dual_mode_streaming import DualModeClient", "", "", "async def main() -> None:");
  let batch = "";
  let stream = "";
  if (asked.fileName) {
    lines.push(`    data = Path(${JSON.stringify(asked.fileName)}).read_bytes()`);
    batch = stream = ', content=data, headers={"Content-Type": "text/csv"}';
  } else if (asked.json) {
    lines.push(`    question = ${literal(asked.json)}`);
    batch = ", json=question";
    stream = ', json={**question, "stream": True}';
  }
  lines.push(`    async with DualModeClient("${origin}") as client:`);
  if (asked.begin) {
    const begin = new URL(asked.begin, document.baseURI);
    const where = JSON.stringify(begin.pathname + begin.search);
    lines.push(`        begun = await client.request("POST", ${where}, headers={"Prefer": "respond-async"})`);
  }
  lines.push(
    `        print(await client.request(${head}${batch}))`,
    `        async with client.stream(${head}${stream}${format}) as events:`,
  );
  if (leaveAfter) {
    lines.push(
      "            async for event in events:  # it has no end: leave when you like",
      "                print(event.id, event.data)",
      "                break",
    );
  } else {
    lines.push("            async for event in events:", "                print(event.data)");
  }
  lines.push("", "", "asyncio.run(main())");
  return lines.join("\n");
}

export function javascript(asked, type, leaveAfter) {
  const place = JSON.stringify(url(asked).href);
  if (asked.method === "GET") {
    const begin = asked.begin
      ? [
        `const begun = await fetch(${JSON.stringify(full(asked.begin))}, { method: "POST", headers: { Prefer: "respond-async" } });`,
        `const url = new URL(begun.headers.get("location"), begun.url);`,
      ]
      : [`const url = new URL(${place});`];
    return [
      ...begin,
      "console.log(await (await fetch(url)).json());",
      "",
      'url.searchParams.set("stream", "true");',
      "const source = new EventSource(url); // it reconnects by itself",
      'source.addEventListener("message", (event) => console.log(JSON.parse(event.data)));',
      leaveAfter
        ? "// It has no end: source.close() when you have seen enough."
        : 'source.addEventListener("done", () => source.close());',
    ].join("\n");
  }
  const body = asked.json ? "JSON.stringify(question)" : "file";
  const headers = (accept) => {
    const all = { ...(asked.json ? { "Content-Type": "application/json" } : asked.headers), ...accept };
    return JSON.stringify(all);
  };
  const accept = asked.modeInBody ? {} : { Accept: type };
  return [
    asked.json ? `const question = ${JSON.stringify(asked.json)};` : "// file: a File, such as that of <input type=file>",
    `const ask = (headers, body) => fetch(${place}, { method: "POST", headers, body });`,
    `console.log(await (await ask(${headers({})}, ${body})).json());`,
    "",
    `const response = await ask(${headers(accept)}, ${asked.json ? "JSON.stringify({ ...question, stream: true })" : body});`,
    "const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();",
    "for (let part; !(part = await reader.read()).done; ) console.log(part.value);",
  ].join("\n");
}
