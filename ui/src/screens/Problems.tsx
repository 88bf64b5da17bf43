import { useEffect, useState } from "preact/hooks";
import type { Problem } from "../api.types";
import { api, Refused } from "../app/api";
import { useApp, useModel } from "../app/context";
import { shortened, shown } from "../logic/names";
import { count, problems } from "../logic/texts";

/** Files that cannot be used, why, and a way to try them again. */
export function Problems() {
  const model = useModel();
  const total = useApp((app) => app.state?.counts.problems ?? 0);
  const scanning = useApp((app) => app.state?.scanning ?? false);
  const [items, setItems] = useState<readonly Problem[]>([]);
  const [next, setNext] = useState<string | null>(null);
  const [others, setOthers] = useState<Record<string, number>>({});
  const complain = (error: unknown) =>
    model.tell(error instanceof Refused ? error.message : "handful is not running.", "careful");
  const load = async (cursor: string | null) => {
    try {
      const page = await api.problems(cursor);
      setItems((before) => (cursor === null ? page.items : [...before, ...page.items]));
      setNext(page.next);
      setOthers(page.others);
    } catch (error) {
      complain(error);
    }
  };
  useEffect(() => void load(null), [total, scanning]);
  const again = async (ids?: string[]) => {
    try {
      await api.rescan(ids);
      model.tell("Looking again.");
    } catch (error) {
      complain(error);
    }
  };
  /** Off the list for good, or until an undo; a file that is repaired comes back as open. */
  const leaveOut = (id: string) => {
    const body = { kind: "state_set", images: [id], state: "broken", from: "grid" };
    model.submit({ body, text: "1 image marked broken" });
    setItems((before) => before.filter((p) => p.id !== id));
  };
  const copy = async () => {
    const text = items.map((p) => `${shown(p.name)}\t${p.problem.text}`).join("\n");
    try {
      await navigator.clipboard.writeText(text);
      model.tell(`${count(items.length)} lines copied.`);
    } catch {
      model.tell("The browser did not allow copying.", "careful");
    }
  };
  const left = Object.entries(others).sort((a, b) => b[1] - a[1]);
  return (
    <main class="scrolls" tabIndex={0}>
      <div class="sheet">
        <header>
          <h1>Problems</h1>
          {total > 0 && <p>{problems(total)}. Everything else goes on.</p>}
          <span class="row push">
            <button type="button" disabled={scanning} onClick={() => void again()}>
              {scanning ? "Looking..." : "Look at the folder again"}
            </button>
            {items.length > 0 && <button type="button" onClick={() => void copy()}>Copy list</button>}
          </span>
        </header>
        {items.length === 0 && !scanning && <p>No file has a problem.</p>}
        {items.length > 0 && (
          <table class="problem-list" data-testid="problems">
            <tbody>
              {items.map((p) => (
                <tr key={p.id} data-problem={p.problem.id}>
                  <td title={shown(p.name)}>{shortened(p.name)}</td>
                  <td>{shown(p.problem.text)}</td>
                  <td class="number">
                    <button type="button" onClick={() => void again([p.id])}>Try again</button>{" "}
                    <button type="button" onClick={() => leaveOut(p.id)}>Leave out</button>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
        {next !== null && <button type="button" onClick={() => void load(next)}>Show more</button>}
        {left.length > 0 && (
          <p class="dim">
            Left alone, as they are no pictures that can be read here:{" "}
            {left.map(([suffix, n]) => `${count(n)} ${shown(suffix) || "without an ending"}`).join(", ")}.
          </p>
        )}
      </div>
    </main>
  );
}
