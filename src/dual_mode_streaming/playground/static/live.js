// The pulse of the server: one EventSource for all tabs of this browser.
//
// The tab that gets the lock connects, and passes on what it hears; when it goes, the next one gets the lock. Where
// there are no locks (they need https or localhost) each tab has a connection of its own while it can be seen.

import { connected } from "./connections.js";

const CHANNEL = "dual-mode-live";
const AGAIN = 2000; // milliseconds until a connection that was refused is tried again
const SILENCE = 6000; // after so many without a word followers think that the leader is stuck

export function listen({ onPulse, onState, onTabs }) {
  const others = new BroadcastChannel(CHANNEL);
  let lastHeard = performance.now();
  let state = "";

  function hear(news) {
    lastHeard = performance.now();
    if (news.pulse) onPulse(news.pulse, news.id);
    if (news.state && news.state !== state) {
      state = news.state;
      onState(state);
    }
  }

  function tell(news) {
    hear(news);
    others.postMessage(news);
  }

  others.addEventListener("message", (event) => hear(event.data));
  setInterval(() => {
    if (performance.now() - lastHeard > SILENCE) hear({ state: "lost" });
  }, 1000);

  // Lives as long as the lock is held, which is as long as this tab.
  const lead = () => connected(() => new Promise(() => connect(tell)));

  if (navigator.locks) {
    const tab = `dual-mode-tab-${Math.random()}`;
    navigator.locks.request(tab, { mode: "shared" }, () => new Promise(() => {}));
    navigator.locks.request(CHANNEL, lead);
    const count = async () => {
      const { held } = await navigator.locks.query();
      onTabs(held.filter((lock) => lock.name.startsWith("dual-mode-tab-")).length);
    };
    setInterval(count, 1000);
    count();
  } else {
    onTabs(null);
    let close = connect(hear);
    document.addEventListener("visibilitychange", () => {
      close();
      if (!document.hidden) close = connect(hear);
    });
  }
}

function connect(tell) {
  let source;
  let timer;

  function open() {
    source = new EventSource("live?stream=true");
    source.addEventListener("message", (event) => {
      tell({ pulse: JSON.parse(event.data), id: event.lastEventId, state: "live" });
    });
    source.addEventListener("error", (event) => {
      // Ours has data: the server says farewell. The browser's own has none.
      tell({ state: "lost" });
      if (source.readyState === EventSource.CLOSED && !event.data) {
        clearTimeout(timer);
        timer = setTimeout(open, AGAIN); // it was refused, and gives up by itself
      }
    });
  }

  open();
  return () => {
    clearTimeout(timer);
    source.close();
  };
}
