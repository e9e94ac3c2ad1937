// Counts the connections that all tabs of this browser hold open, by locks that it releases by itself when a tab goes.
//
// Over HTTP/1.1 a browser opens six connections to a host, for all tabs together. A seventh request waits without a
// word until one of them is free, which for a live stream may be never. So the page shares one live connection between
// its tabs (live.js), and says so when all six are taken.

import { find, randomName } from "./dom.js";

const PREFIX = "dual-mode-connection-";
const MOST = 6;

function isHttp1() {
  const [page] = performance.getEntriesByType("navigation");
  return !page || page.nextHopProtocol === "" || page.nextHopProtocol.startsWith("http/1");
}

async function openConnections() {
  if (!navigator.locks) return null;
  const { held } = await navigator.locks.query();
  return held.filter((lock) => lock.name.startsWith(PREFIX)).length;
}

// Whether another request would wait. A page that wants to stop a stream of its own has to leave it first then.
export async function allTaken() {
  return isHttp1() && (await openConnections()) >= MOST;
}

async function notice() {
  const count = await openConnections();
  find("connections-full").hidden = !(await allTaken());
  if (count !== null) find("connections").textContent = String(count);
}

// Holds a place as long as the promise of `work` is open.
export async function connected(work) {
  if (!navigator.locks) return work();
  return navigator.locks.request(PREFIX + randomName(), { mode: "shared" }, async () => {
    await notice();
    try {
      return await work();
    } finally {
      setTimeout(notice, 50); // after the lock is gone
    }
  });
}

export function watchConnections() {
  notice();
  // Other tabs open and close without telling.
  setInterval(notice, 1000);
}
