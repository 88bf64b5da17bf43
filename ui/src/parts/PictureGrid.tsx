import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { ClassInfo, Picture } from "../api.types";
import { useApp, useKeys, useModel } from "../app/context";
import { useFocused } from "../app/focused";
import type { Reply, Subject } from "../app/model";
import { between, GAP, moved, scrollFor, shapeOf, TILE_SIZES, windowOf } from "../logic/grid";
import { nameOf } from "../logic/keys";
import { lookClass } from "../logic/looks";
import { shortened, shown } from "../logic/names";
import type { Standing } from "../logic/overlay";
import { count, MOST_AT_ONCE, scope, STATE_WORDS } from "../logic/texts";
import { Chip } from "./Chip";
import { ClassColumn } from "./ClassColumn";
import { GuideBox } from "./Guide";
import { Large } from "./Large";
import { Thumbnail } from "./Tile";

/** Pictures as tiles: moved through by arrows, selected, answered by class keys, seen large. */
export function PictureGrid({ title, from, of, items, total, until, top, empty, advance, onMoved, onAnswered, onAgain, onClose }: {
  title: string;
  from: "grid" | "review" | "map" | "find";
  of: string; // which pictures these are: another text begins anew
  items: readonly Picture[];
  total: number;
  until: (n: number) => Promise<void>; // loads at least so many
  top: ComponentChildren;
  empty: ComponentChildren | null; // what there is instead of a grid
  advance?: boolean; // an answer to the picture in focus goes on to the next
  onMoved?: (at: number) => void;
  onAnswered?: (ids: readonly string[], reply: Reply) => void;
  onAgain?: () => void;
  onClose?: () => void;
}) {
  const model = useModel();
  const overlay = useApp((app) => app.overlay);
  const tile = useApp((app) => app.settings.tile);
  const [at, setAt] = useState(0);
  const [anchor, setAnchor] = useState(0);
  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set());
  const [large, setLarge] = useState(false);
  const grid = useRef<GridHandle>(null);
  const focused = items[at] ?? null;

  useEffect(() => {
    setAt(0);
    setAnchor(0);
    setSelected(new Set());
  }, [of]);
  useEffect(() => onMoved?.(at), [at]);

  const chosen = () =>
    selected.size ? items.filter((p) => selected.has(p.id)) : focused ? [focused] : [];
  useFocused(() => {
    const them = chosen();
    const classes = new Set(them.map((p) => standing(p, overlay).class));
    return { ids: them.map((p) => p.id), class: classes.size === 1 ? [...classes][0]! : null };
  });
  const reply = (given: Reply) => {
    const subjects: Subject[] = chosen().map((p) => ({ id: p.id, ...standing(p, overlay) }));
    if (!model.decide(subjects, given, from)) return;
    setSelected(new Set());
    onAnswered?.(subjects.map((s) => s.id), given);
    if (advance && selected.size === 0 && at + 1 < total) goTo(at + 1, false);
  };
  const select = (indices: readonly number[], on: boolean) => {
    const next = new Set(selected);
    for (const i of indices) {
      const id = items[i]?.id;
      if (id) on ? next.add(id) : next.delete(id);
    }
    setSelected(next);
    if (next.size) model.app.set({ said: `${count(next.size)} selected` });
  };
  const goTo = (index: number, extend: boolean) => {
    setAt(index);
    if (extend) select(between(anchor, index), true);
    else setAnchor(index);
    void until(index + 1);
    grid.current?.show(index);
  };
  const all = async () => {
    await until(MOST_AT_ONCE);
    const everything = grid.current?.items() ?? [];
    setSelected(new Set(everything.slice(0, MOST_AT_ONCE).map((p) => p.id)));
    model.tell(`${count(Math.min(everything.length, MOST_AT_ONCE))} selected`);
  };
  const resize = (by: 1 | -1) => {
    const next = TILE_SIZES[TILE_SIZES.indexOf(tile as (typeof TILE_SIZES)[number]) + by];
    if (next) model.set({ tile: next });
  };

  useKeys((meaning) => {
    if ("classId" in meaning) reply({ class: meaning.classId });
    else if ("move" in meaning) {
      const { columns, rowsInView } = grid.current ?? { columns: 1, rowsInView: 1 };
      goTo(moved(at, meaning.move, total, columns, rowsInView), meaning.move.startsWith("shift+"));
    } else if (meaning.command === "select") select([at], !selected.has(focused?.id ?? ""));
    else if (meaning.command === "all") void all();
    else if (meaning.command === "later-selected") reply({ state: "later" });
    else if (["unsure", "none", "broken"].includes(meaning.command)) reply({ state: meaning.command });
    else if (meaning.command === "clear") reply({ state: "open" });
    else if (meaning.command === "large") setLarge((is) => !is && focused !== null);
    else if (meaning.command === "again" && onAgain) onAgain();
    else if (meaning.command === "larger") resize(1);
    else if (meaning.command === "smaller") resize(-1);
    else if (meaning.command === "close" && (large || selected.size)) {
      if (large) setLarge(false);
      else setSelected(new Set());
    } else if (meaning.command === "close" && onClose) onClose();
    else return false;
    return true;
  });

  return (
    <main class="pictures">
      <h1 class="said">{title}</h1>
      <ClassColumn place="pictures" idle={selected.size === 0} onReply={reply} />
      {top}
      {empty ?? (
        <Grid
          handle={grid} items={items} total={total} tile={tile} at={at}
          selected={selected} overlay={overlay} need={(n) => void until(n)}
          onPick={(index, event) => {
            setAt(index);
            if (event.shiftKey) select(between(anchor, index), true);
            else {
              setAnchor(index);
              select([index], !selected.has(items[index]?.id ?? ""));
            }
          }}
          onOpen={(index) => {
            setAt(index);
            setLarge(true);
          }}
        />
      )}
      <GuideBox floating about={focused ? standing(focused, overlay).class : null} />
      <Act n={selected.size} onClear={() => setSelected(new Set())} onReply={reply} />
      {large && focused && (
        <Large
          picture={focused} standing={standing(focused, overlay)} at={at} total={total}
          onClose={() => setLarge(false)}
        />
      )}
    </main>
  );
}

function standing(picture: Picture, overlay: ReadonlyMap<string, Standing>): Standing {
  return overlay.get(picture.id) ??
    { state: picture.state, class: picture.class, source: picture.source };
}

/** What happens to the selection, with its size written on the buttons. */
function Act({ n, onClear, onReply }: {
  n: number; onClear: () => void; onReply: (reply: Reply) => void;
}) {
  if (n === 0) {
    return (
      <div class="act dim">
        <span>
          <kbd>Space</kbd> or click selects, <kbd>Shift</kbd> with arrows selects more. A class key
          labels what is selected, else the picture in focus.
        </span>
      </div>
    );
  }
  return (
    <div class="act">
      <b>{scope(n)}</b> <span class="dim">with a class key or a click on a class</span>
      <button type="button" class="push" onClick={() => onReply({ state: "open" })}>
        Make open again <kbd>{nameOf("delete")}</kbd>
      </button>
      <button type="button" onClick={onClear}>Select none <kbd>{nameOf("esc")}</kbd></button>
    </div>
  );
}

interface GridHandle {
  columns: number;
  rowsInView: number;
  show: (index: number) => void;
  items: () => readonly Picture[];
}

function Grid({ handle, items, total, tile, at, selected, overlay, need, onPick, onOpen }: {
  handle: { current: GridHandle | null };
  items: readonly Picture[];
  total: number;
  tile: number;
  at: number;
  selected: ReadonlySet<string>;
  overlay: ReadonlyMap<string, Standing>;
  need: (n: number) => void;
  onPick: (index: number, event: MouseEvent) => void;
  onOpen: (index: number) => void;
}) {
  const model = useModel();
  useApp((app) => app.state?.classes);
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ width: 800, height: 600, top: 0 });
  const latest = useRef(items);
  latest.current = items;
  useLayoutEffect(() => {
    const element = box.current!;
    const look = () => setView({
      width: element.clientWidth - 16, height: element.clientHeight - 16, top: element.scrollTop,
    });
    const watch = new ResizeObserver(look);
    watch.observe(element);
    element.addEventListener("scroll", look, { passive: true });
    look();
    return () => {
      watch.disconnect();
      element.removeEventListener("scroll", look);
    };
  }, []);
  const shape = shapeOf(total, view.width, tile);
  const drawn = windowOf(shape, total, view.top, view.height);
  const pitch = tile + GAP;
  useEffect(() => {
    if (items.length < drawn.last) need(drawn.last);
  }, [drawn.last, items.length]);

  handle.current = {
    columns: shape.columns,
    rowsInView: Math.floor(view.height / pitch),
    items: () => latest.current,
    show: (index) => {
      const element = box.current!;
      element.scrollTop = scrollFor(index, shape, element.scrollTop, view.height);
    },
  };
  // The focus follows the tile where the grid has it, so that readers hear what is there.
  useEffect(() => {
    if (box.current?.contains(document.activeElement)) {
      box.current.querySelector<HTMLElement>(`[data-index="${at}"]`)?.focus({ preventScroll: true });
    }
  }, [at, drawn.firstRow]);

  const classes = new Map(model.classes.map((c) => [c.id, c] as const));
  const rows = [];
  for (let row = drawn.firstRow; row < drawn.lastRow; row++) {
    const cells = [];
    for (let index = row * shape.columns; index < Math.min(total, (row + 1) * shape.columns); index++) {
      const picture = items[index];
      cells.push(
        <Cell
          key={index} index={index} column={index % shape.columns} picture={picture} tile={tile}
          standing={picture ? standing(picture, overlay) : null} at={index === at}
          owner={picture ? classes.get(standing(picture, overlay).class ?? -1e9) : undefined}
          selected={picture !== undefined && selected.has(picture.id)} onPick={onPick} onOpen={onOpen}
        />,
      );
    }
    rows.push(
      <div key={row} role="row" aria-rowindex={row + 1} class="grid-row" style={{ top: `${row * pitch}px`, height: `${tile}px` }}>
        {cells}
      </div>,
    );
  }
  return (
    <div
      class="grid" ref={box} role="grid" aria-label="Pictures" aria-multiselectable="true"
      aria-rowcount={shape.rows} aria-colcount={shape.columns}
    >
      <div class="canvas" role="presentation" style={{ height: `${shape.height}px` }}>{rows}</div>
    </div>
  );
}

function Cell({ index, column, picture, tile, standing: now, owner, at, selected, onPick, onOpen }: {
  index: number;
  column: number;
  picture: Picture | undefined;
  tile: number;
  standing: Standing | null;
  owner: ClassInfo | undefined;
  at: boolean;
  selected: boolean;
  onPick: (index: number, event: MouseEvent) => void;
  onOpen: (index: number) => void;
}) {
  const state = now?.state ?? "open";
  const key = owner?.key ? `, key ${nameOf(owner.key)}` : "";
  const words = owner ? shown(owner.name) + key : (STATE_WORDS[state] ?? state);
  return (
    <div
      role="gridcell" class={`tile ${at ? "at" : ""}`} aria-colindex={column + 1} tabIndex={at ? 0 : -1}
      aria-selected={selected} data-testid="tile" data-index={index} data-image={picture?.id}
      data-state={state} aria-label={picture ? `${shortened(picture.name)}, ${words}` : "being read"}
      title={picture ? shown(picture.name) : ""}
      style={{ width: `${tile}px`, height: `${tile}px`, left: `${column * (tile + GAP)}px` }}
      onClick={(event) => onPick(index, event)} onDblClick={() => onOpen(index)}
    >
      {picture && <Thumbnail of={picture} tile={tile} />}
      {owner && (
        <>
          <Chip of={owner} />
          <span class={`band swatch ${lookClass(owner.look)}`} />
        </>
      )}
      {!owner && state !== "open" && <span class="state">{STATE_WORDS[state]}</span>}
    </div>
  );
}
