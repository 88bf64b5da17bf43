import { useEffect, useState } from "preact/hooks";
import type { HistoryLine } from "../api.types";
import { api, Refused } from "../app/api";
import { useApp, useModel } from "../app/context";
import { MAC } from "../app/keyboard";
import { nameOf } from "../logic/keys";
import { shown } from "../logic/names";

const CLOCK = new Intl.DateTimeFormat("en", {
  day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23",
});

/** What was done, newest first, in words. */
export function History() {
  const model = useModel();
  const rev = useApp((app) => app.state?.label_rev ?? 0);
  const [items, setItems] = useState<readonly HistoryLine[]>([]);
  const [next, setNext] = useState<string | null>(null);
  const load = async (cursor: string | null) => {
    try {
      const page = await api.history(cursor);
      setItems((before) => (cursor === null ? page.items : [...before, ...page.items]));
      setNext(page.next);
    } catch (error) {
      model.tell(error instanceof Refused ? error.message : "handful is not running.", "careful");
    }
  };
  useEffect(() => void load(null), [rev]);
  return (
    <main class="scrolls" tabIndex={0}>
      <div class="sheet">
        <header>
          <h1>History</h1>
          <p class="dim">Undo ({nameOf("ctrl+z", { mac: MAC })}) takes back your last decision, then the one before, without end.</p>
        </header>
        {items.length === 0 && <p>Nothing has been done yet.</p>}
        <ol class="history-list">
          {items.map((line) => (
            <li key={line.seq}>
              <time dateTime={new Date(line.at * 1000).toISOString()}>
                {CLOCK.format(new Date(line.at * 1000))}
              </time>
              <span class={line.undone ? "undone" : ""}>{shown(line.text)}</span>
              {line.undone && <span class="dim">undone</span>}
              {line.person && <span class="dim push">{shown(line.person)}</span>}
            </li>
          ))}
        </ol>
        {next !== null && <button type="button" onClick={() => void load(next)}>Show more</button>}
      </div>
    </main>
  );
}
