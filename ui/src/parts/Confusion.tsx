import { useEffect, useRef, useState } from "preact/hooks";
import type { Confusion as Table, ConfusionCell, Picture } from "../api.types";
import { checks, complaint } from "../app/api";
import { useApp, useModel } from "../app/context";
import { cellOf, cellPart, cellText, type Compared } from "../logic/checks";
import { shown } from "../logic/names";
import { count } from "../logic/texts";
import { nameIn } from "../app/review";
import { Chip } from "./Chip";
import { PictureGrid } from "./PictureGrid";

const MOST = 6; // of the largest mix-ups that are said in words

/** Which label is taken for which, by a model that was not taught the picture. */
export function Confusion() {
  const model = useModel();
  const rev = useApp((app) => app.state?.model_rev ?? 0);
  const reload = useApp((app) => app.reload);
  useApp((app) => app.state?.classes);
  const [table, setTable] = useState<Table | null>(null);
  const [blind, setBlind] = useState(false);
  useEffect(() => {
    let over = false;
    checks.confusion().then(
      (found) => !over && setTable(found),
      (error) => !over && model.tell(complaint(error), "careful"),
    );
    return () => {
      over = true;
    };
  }, [rev, reload]);
  if (!table) return <p aria-busy="true" class="dim">Counting...</p>;
  const cells = blind && table.audit ? table.audit : table.held;
  if (table.held.length === 0) {
    return <p>Nothing to compare yet: this needs labels of at least two classes, and a first round of suggestions.</p>;
  }
  const off = cells.filter((c) => c.label !== c.to).sort((a, b) => b.n - a.n);
  const classes = model.classes;
  const kind: Compared = blind && table.audit ? "audit" : "cell";
  return (
    <section class="confusion" aria-label="Confusion">
      <header class="row">
        <h2>What is taken for what</h2>
        {table.audit && (
          <select aria-label="Compared with" class="push" value={blind ? "audit" : "held"} onChange={(e) => setBlind(e.currentTarget.value === "audit")}>
            <option value="held">label and suggestion</option>
            <option value="audit">label and blind answer</option>
          </select>
        )}
      </header>
      <p class="dim">
        {blind
          ? "Each picture of the audit: its label against the blind answer."
          : "Each labelled picture: its label against what is suggested by a model that has not seen this label."}
      </p>
      {off.length === 0 ? <p>No label disagrees.</p> : (
        <ol class="mixups">
          {off.slice(0, MOST).map((c) => (
            <li key={cellPart(kind, c.label, c.to)}>
              <a class="button" href={`#/review?part=${cellPart(kind, c.label, c.to)}`}>
                {cellText(c.n, shown(nameIn(classes, c.label)), shown(nameIn(classes, c.to)), kind)}
              </a>
            </li>
          ))}
        </ol>
      )}
      <Matrix cells={cells} kind={kind} />
    </section>
  );
}

function Matrix({ cells, kind }: { cells: readonly ConfusionCell[]; kind: Compared }) {
  const to = kind === "audit" ? "blind answer" : "suggestion";
  const model = useModel();
  const classes = model.classes;
  const order = (ids: ReadonlySet<number | null>) =>
    [...ids].sort((a, b) => rank(classes, a) - rank(classes, b));
  const all = order(new Set(cells.flatMap((c) => [c.label, c.to])));
  const at = new Map(cells.map((c) => [`${c.label}:${c.to}`, c.n] as const));
  const most = Math.max(1, ...cells.filter((c) => c.label !== c.to).map((c) => c.n));
  const head = (id: number | null) => {
    const owner = classes.find((c) => c.id === id);
    return (
      <span class="head" title={shown(nameIn(classes, id))}>
        {owner && <Chip of={owner} />} <span class="name">{shown(nameIn(classes, id))}</span>
      </span>
    );
  };
  return (
    <div class="matrix scrolls" tabIndex={0} role="region" aria-label="Table of labels against suggestions">
      <table data-testid="confusion">
        <caption class="said">Rows are labels, columns are {to}s.</caption>
        <thead>
          <tr>
            <td class="corner"><span class="dim">label, then {to}</span></td>
            {all.map((id) => <th key={id} scope="col">{head(id)}</th>)}
          </tr>
        </thead>
        <tbody>
          {all.map((label) => (
            <tr key={label}>
              <th scope="row">{head(label)}</th>
              {all.map((other) => {
                const n = at.get(`${label}:${other}`) ?? 0;
                const same = label === other;
                const strong = { "--share": String(same ? 0 : Math.max(0.12, n / most)) };
                return (
                  <td key={other} class={`${same ? "same" : ""} ${n > 0 && !same ? "off" : ""}`} style={n > 0 && !same ? strong : {}}>
                    {n > 0 && (
                      <a
                        href={`#/review?part=${cellPart(kind, label, other)}`} data-testid="cell"
                        aria-label={cellText(n, shown(nameIn(classes, label)), shown(nameIn(classes, other)), kind)}
                      >
                        {count(n)}
                      </a>
                    )}
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function rank(classes: readonly { id: number }[], id: number | null): number {
  const at = classes.findIndex((c) => c.id === id);
  return at < 0 ? classes.length : at;
}

const PAGE = 100;

/** The pictures of one cell, as a grid in which labels can be changed. */
export function Cell({ part }: { part: string }) {
  const model = useModel();
  const reload = useApp((app) => app.reload);
  useApp((app) => app.state?.classes);
  const of = cellOf(part);
  const [items, setItems] = useState<readonly Picture[]>([]);
  const [total, setTotal] = useState<number | null>(null);
  const next = useRef<string | null>(null);
  const have = useRef<readonly Picture[]>([]);
  const busy = useRef<Promise<void>>(Promise.resolve());
  const load = async (n: number, anew: boolean) => {
    let found = anew ? [] : [...have.current];
    let cursor = anew ? null : next.current;
    while (found.length === 0 || (cursor !== null && found.length < n)) {
      const page = await checks.review(part, cursor, PAGE);
      found = [...found, ...page.items.map((item) => item.picture)];
      cursor = page.next;
      setTotal(page.total);
      if (page.items.length === 0) break;
    }
    have.current = found;
    next.current = cursor;
    setItems(found);
  };
  const until = (n: number, anew = false) => {
    busy.current = busy.current.then(() => load(n, anew)).catch((error) => model.tell(complaint(error), "careful"));
    return busy.current;
  };
  useEffect(() => void until(1, true), [part, reload]);
  const back = () => model.visit({ screen: "review", part: "confusion" });
  const words = of && total !== null
    ? cellText(total, shown(nameIn(model.classes, of.label)), shown(nameIn(model.classes, of.to)), of.kind) : "...";
  return (
    <PictureGrid
      title="Review" from="review" of={part} items={items} total={total ?? 0} onClose={back}
      until={(n) => until(n)}
      top={
        <div class="filters">
          <button type="button" onClick={back}>Back to the table <kbd>Esc</kbd></button>
          <b>{words}</b>
        </div>
      }
      empty={of === null || total === 0 ? <div class="empty"><p>No picture is like that any more.</p></div> : null}
    />
  );
}
