/**
 * News from the server.  A browser opens about six connections to one address, over all its
 * tabs: so one tab holds the stream and passes on what it hears.  Where tabs cannot agree on
 * one (a page that is no secure context has no locks), each asks every three seconds.
 */

import { stream } from "./api";

export type News =
  | { kind: "up" }
  | { kind: "down" }
  | { kind: (typeof KINDS)[number]; data: unknown };

const KINDS = [
  "counts", "classes", "task", "problems", "scan", "resync", "model", "groups", "map", "features",
  "advice", "people",
] as const;
const POLL = 3000;
const AGAIN = 2000;

export interface Live {
  stop(): void;
}

export function listen(hear: (news: News) => void, poll: () => Promise<void>): Live {
  const locks = navigator.locks as LockManager | undefined;
  if (!locks || typeof BroadcastChannel === "undefined") return polling(hear, poll);
  const channel = new BroadcastChannel("handful.stream");
  channel.onmessage = ({ data }) => hear(data as News);
  const tell = (news: News) => {
    hear(news);
    channel.postMessage(news);
  };
  let release = () => {};
  let leave = new AbortController();
  const join = () => {
    leave = new AbortController();
    locks
      .request("handful.stream", { signal: leave.signal }, () => {
        const stop = holding(tell);
        return new Promise<void>((done) => {
          release = () => {
            stop();
            done();
          };
        });
      })
      .catch(() => undefined); // left before its turn came
  };
  const part = () => {
    leave.abort();
    release();
  };
  // A page that the browser keeps for the way back would keep the stream from all others.
  const back = (event: PageTransitionEvent) => {
    if (!event.persisted) return;
    join();
    poll().catch(() => hear({ kind: "down" }));
  };
  window.addEventListener("pagehide", part);
  window.addEventListener("pageshow", back);
  join();
  return {
    stop() {
      window.removeEventListener("pagehide", part);
      window.removeEventListener("pageshow", back);
      part();
      channel.close();
    },
  };
}

function holding(tell: (news: News) => void): () => void {
  let source: EventSource | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const open = () => {
    source = stream();
    source.onopen = () => tell({ kind: "up" });
    source.onerror = () => {
      tell({ kind: "down" });
      // A refusal closes the stream for good, a lost connection is tried again by the browser.
      if (source?.readyState === EventSource.CLOSED) timer = setTimeout(open, AGAIN);
    };
    source.addEventListener("bye", () => {
      source?.close();
      tell({ kind: "down" });
      timer = setTimeout(open, AGAIN);
    });
    for (const kind of KINDS) {
      source.addEventListener(kind, (event) => tell({ kind, data: parsed(event.data) }));
    }
  };
  open();
  return () => {
    clearTimeout(timer);
    source?.close();
  };
}

function parsed(text: unknown): unknown {
  try {
    return JSON.parse(String(text));
  } catch {
    return null;
  }
}

function polling(hear: (news: News) => void, poll: () => Promise<void>): Live {
  const timer = setInterval(() => {
    poll().then(() => hear({ kind: "up" }), () => hear({ kind: "down" }));
  }, POLL);
  return { stop: () => clearInterval(timer) };
}
