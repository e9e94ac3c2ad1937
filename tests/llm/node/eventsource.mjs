// The event source of npm reads a stream until the server tells it to stop, and prints what it has seen.

import { EventSource } from "eventsource";

const source = new EventSource(process.argv[2]);
const awake = setInterval(() => {}, 60_000); // while it waits to come back, it does not keep Node from ending
const seen = { items: [], ids: [], opened: 0, done: null, errors: [] };
source.onopen = () => seen.opened++;
source.onmessage = (event) => {
  seen.items.push(JSON.parse(event.data).n);
  seen.ids.push(event.lastEventId);
};
source.addEventListener("done", (event) => (seen.done = [JSON.parse(event.data), event.lastEventId]));
source.addEventListener("error", (event) => {
  if (event.data !== undefined) seen.errors.push(event.data);
  if (source.readyState !== EventSource.CLOSED) return;
  console.log(JSON.stringify(seen));
  clearInterval(awake);
});
