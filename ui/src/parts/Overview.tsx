import { useEffect, useRef, useState } from "preact/hooks";
import type { Group } from "../api.types";
import { useApp, useKeys, useModel } from "../app/context";
import { galleryOf } from "../app/gallery";
import type { Reply } from "../app/model";
import { usePart } from "../app/observable";
import { useSize } from "../app/size";
import * as gallery from "../logic/gallery";
import { GAP, moved, scrollFor, shapeOf, windowOf } from "../logic/grid";
import { keyOf } from "../logic/keys";
import { shown } from "../logic/names";
import { count, groups as groupsOf, pictures } from "../logic/texts";
import { ClassColumn, keepFocus } from "./ClassColumn";
import { LikelyName, useNameOf } from "./Likely";
import { Thumbnail } from "./Tile";

const CARD = 172; // px wide, at least
const TILES = 9;
const CAPTION = 52; // px below the tiles
const SPACE = 8; // px between cards, beyond the gap of the grid

const ORDERS: Record<gallery.Order, string> = {
  useful: "Most useful first", clear: "Big and clear first", different: "Most different first", small: "Smallest first",
};

interface Card {
  group: Group;
  n: number; // pictures that are open, of a settled group all
  done: string | null;
}

/** All groups as cards of nine tiles; several can be ticked and answered or merged at once. */
export function Overview({ sameAs }: { sameAs?: string }) {
  const model = useModel();
  const groups = galleryOf(model);
  const { line, done, near } = usePart(groups.view, (view) => view);
  const hide = useApp((app) => app.settings.hide);
  useApp((app) => app.state?.classes);
  const [order, setOrder] = useState<gallery.Order>("useful");
  const [ticked, setTicked] = useState<ReadonlySet<string>>(new Set());
  const [at, setAt] = useState(0);
  const box = useRef<HTMLDivElement>(null);
  const size = useSize(box);
  const [top, setTop] = useState(0);
  useEffect(() => void groups.load(true), [line.entries.length]);

  const cards = cardsOf(line, order, done, groups.wordsOf.bind(groups), sameAs, near);
  // Cards share the whole width.
  const room = size.width - 24;
  const columns = Math.max(1, Math.floor((room + SPACE + GAP) / (CARD + SPACE + GAP)));
  const width = Math.max(CARD, Math.floor((room - (columns - 1) * (SPACE + GAP)) / columns)) + SPACE;
  const shape = shapeOf(cards.length, room + SPACE, width, CAPTION);
  const drawn = windowOf(shape, cards.length, top, size.height, CAPTION);
  const pitch = width + CAPTION + GAP;
  const focus = Math.min(at, Math.max(0, cards.length - 1));
  const chosen = cards.filter((card) => card.done === null && ticked.has(card.group.id));
  const key = (command: string) => keyOf(command, model.now.settings.bindings);

  const goTo = (index: number) => {
    setAt(index);
    const element = box.current!;
    element.scrollTop = scrollFor(index, shape, element.scrollTop, size.height, CAPTION);
  };
  useEffect(() => {
    if (!box.current?.contains(document.activeElement)) return;
    box.current.querySelector<HTMLElement>(`[data-card="${focus}"]`)?.focus({ preventScroll: true });
  }, [focus]);
  const back = () => model.visit({ screen: "gallery" });
  const tick = (index: number) => {
    const card = cards[index];
    if (!card || card.done !== null) return;
    const next = new Set(ticked);
    if (!next.delete(card.group.id)) next.add(card.group.id);
    setTicked(next);
    model.app.set({ said: `${groupsOf(next.size)} ticked` });
  };
  const merge = (ids: readonly string[]) => {
    setTicked(new Set());
    void groups.merge(ids).then(back);
  };
  const open = (index: number) => {
    const card = cards[index];
    if (!card) return;
    if (sameAs !== undefined) return merge([sameAs, ...new Set([...chosen.map((c) => c.group.id), card.group.id])]);
    if (card.done === null) groups.show(card.group.id);
    else groups.reopen(card.group);
    back();
  };
  /** What the ticked groups are, else the one in focus. */
  const subjects = (): Card[] => {
    const one = cards[focus];
    return chosen.length > 0 ? chosen : one && one.done === null ? [one] : [];
  };
  const reply = (given: Reply) => {
    const of = subjects();
    if (sameAs !== undefined || of.length === 0) return;
    model.glowFor(given);
    setTicked(new Set());
    groups.answerAll(of.map((card) => card.group.id), given, of.flatMap((card) => tilesOf(line, card).map((p) => p.id)));
  };
  const aside = (why: "mixed" | "later") => {
    setTicked(new Set());
    void groups.aside(subjects().map((card) => card.group.id), why);
  };

  useKeys((meaning) => {
    if ("classId" in meaning) reply({ class: meaning.classId });
    else if ("move" in meaning) {
      goTo(moved(focus, meaning.move, cards.length, shape.columns, Math.floor(size.height / pitch)));
    } else if (meaning.command === "label-group") open(focus);
    else if (meaning.command === "take-out") tick(focus);
    else if (meaning.command === "take-all") {
      setTicked(ticked.size ? new Set() : new Set(cards.filter((c) => c.done === null).map((c) => c.group.id)));
    } else if (meaning.command === "same" && chosen.length > 1) merge(chosen.map((card) => card.group.id));
    else if (meaning.command === "mixed") aside("mixed");
    else if (meaning.command === "later-selected") aside("later");
    else if (["unsure", "none", "broken"].includes(meaning.command)) reply({ state: meaning.command });
    else if (meaning.command === "close") ticked.size ? setTicked(new Set()) : back();
    else return false;
    return true;
  });

  const rows = [];
  for (let row = drawn.firstRow; row < drawn.lastRow; row++) {
    const cells = [];
    for (let i = row * shape.columns; i < Math.min(cards.length, (row + 1) * shape.columns); i++) {
      const card = cards[i]!;
      cells.push(
        <CardCell
          key={card.group.id} card={card} tiles={tilesOf(line, card)} index={i} at={i === focus} hide={hide}
          ticked={ticked.has(card.group.id)} near={sameAs !== undefined && near.some((p) => p.includes(sameAs) && p.includes(card.group.id))}
          left={(i % shape.columns) * (width + GAP)} width={width - SPACE}
          onOpen={() => open(i)} onTick={() => tick(i)} onFocus={() => setAt(i)}
        />,
      );
    }
    rows.push(
      <div key={row} role="row" aria-rowindex={row + 1} class="grid-row" style={{ top: `${row * pitch}px` }}>{cells}</div>,
    );
  }
  const openCards = cards.filter((card) => card.done === null).length;
  const title = sameAs === undefined ? groupsOf(openCards) : "Same as which group?";
  return (
    <main class="gallery overview" data-testid="overview">
      <ClassColumn place="gallery" idle={chosen.length === 0} onReply={(given) => ("state" in given && given.state === "later" ? aside("later") : reply(given))} />
      <header class="group-head">
        <h1>{title}</h1>
        {sameAs === undefined ? (
          <>
            <select aria-label="Order" value={order} onChange={(e) => setOrder(e.currentTarget.value as gallery.Order)}>
              {gallery.ORDERS.map((id) => <option key={id} value={id}>{ORDERS[id]}</option>)}
            </select>
            <label class="choice">
              <input type="checkbox" checked={done !== null} onChange={(e) => void groups.showDone(e.currentTarget.checked)} />
              Show done
            </label>
            {groups.cards.length > 0 && <a class="button quiet" href="#/gallery?part=cards">Same class? {count(groups.cards.length)}</a>}
          </>
        ) : (
          <span class="dim">Those that look alike come first. <kbd>{key("label-group")}</kbd> makes one group of both.</span>
        )}
        <button type="button" class="push quiet" onMouseDown={keepFocus} onClick={back}>Back to the group <kbd>Esc</kbd></button>
      </header>
      <div
        class="ground cards" ref={box} role="grid" aria-label="Groups" aria-multiselectable="true"
        aria-rowcount={shape.rows} aria-colcount={shape.columns}
        onScroll={(event) => setTop(event.currentTarget.scrollTop)}
      >
        <div class="canvas" role="presentation" style={{ height: `${shape.height}px` }}>{rows}</div>
      </div>
      <footer class="acts">
        {chosen.length > 0 && sameAs === undefined ? (
          <>
            <span class="scope" data-testid="btn-label-group">
              <b>Label {groupsOf(chosen.length)}</b>
              <span class="dim"> of {pictures(chosen.reduce((n, card) => n + card.n, 0))} with a class key or a click on a class</span>
            </span>
            {chosen.length > 1 && (
              <button type="button" onMouseDown={keepFocus} onClick={() => merge(chosen.map((card) => card.group.id))}>
                Merge {groupsOf(chosen.length)} <kbd>{key("same")}</kbd>
              </button>
            )}
            <span class="row push">
              <button type="button" onMouseDown={keepFocus} onClick={() => aside("mixed")}>Not one class <kbd>{key("mixed")}</kbd></button>
              <button type="button" onMouseDown={keepFocus} onClick={() => aside("later")}>Later <kbd>{key("later-selected")}</kbd></button>
              <button type="button" onMouseDown={keepFocus} onClick={() => setTicked(new Set())}>Tick none <kbd>Esc</kbd></button>
            </span>
          </>
        ) : (
          <span class="dim">
            <kbd>{key("take-out")}</kbd> ticks a group, <kbd>{key("label-group")}</kbd> {sameAs === undefined ? "opens it" : "makes them one"}.
            {sameAs === undefined && " A class key labels what is ticked, else the group in focus."}
          </span>
        )}
      </footer>
    </main>
  );
}

function cardsOf(
  line: gallery.Line, order: gallery.Order, done: readonly Group[] | null, words: (group: Group) => string,
  sameAs: string | undefined, near: readonly (readonly string[])[],
): Card[] {
  const open = gallery.sorted(gallery.openEntries(line), order)
    .filter((entry) => entry.group.id !== sameAs)
    .map((entry) => ({ group: entry.group, n: gallery.left(line, entry).length, done: null }));
  if (sameAs !== undefined) {
    const close = (card: Card) => (near.some((p) => p.includes(sameAs) && p.includes(card.group.id)) ? 0 : 1);
    return open.sort((a, b) => close(a) - close(b));
  }
  if (done === null) return open;
  const here = line.entries.filter((entry) => entry.done !== null)
    .map((entry) => ({ group: entry.group, n: entry.group.ids.length, done: entry.done }));
  const known = new Set([...open, ...here].map((card) => card.group.id));
  const there = done.filter((group) => !known.has(group.id))
    .map((group) => ({ group, n: group.ids.length, done: words(group) }));
  return [...open, ...here, ...there];
}

/** The most typical that are left, as far as more than their ids is known. */
function tilesOf(line: gallery.Line, card: Card): { id: string; v: string | null }[] {
  const known = [...card.group.typical, ...card.group.edge];
  const left = card.done === null ? known.filter((p) => !line.answered.has(p.id)) : known;
  return left.slice(0, TILES);
}

function CardCell({ card, tiles, index, at, ticked, near, hide, left, width, onOpen, onTick, onFocus }: {
  card: Card;
  tiles: readonly { id: string; v: string | null }[];
  index: number;
  at: boolean;
  ticked: boolean;
  near: boolean;
  hide: boolean;
  left: number;
  width: number;
  onOpen: () => void;
  onTick: () => void;
  onFocus: () => void;
}) {
  const nameOf = useNameOf();
  const { group, n, done } = card;
  const likely = done === null && !hide ? group.likely : null;
  const name = nameOf(likely);
  return (
    <div
      role="gridcell" class={`card-cell ${at ? "at" : ""} ${done === null ? "" : "done"}`} tabIndex={at ? 0 : -1}
      aria-colindex={index + 1} aria-selected={ticked} data-testid="group" data-group={group.id} data-card={index}
      style={{ width: `${width}px`, height: `${width + CAPTION}px`, left: `${left}px` }}
      onFocus={onFocus} onClick={onOpen}
    >
      <div class="nine">
        {tiles.map((picture) => <span key={picture.id}><Thumbnail of={picture} tile={Math.floor((width - 2 * GAP) / 3)} /></span>)}
      </div>
      <div class="about">
        <span class="row">
          <span class="said">Group of</span>
          <b>{pictures(n)}</b>
          {near && <span class="dim">looks alike</span>}
          {group.aside === "later" && <span class="dim">later</span>}
        </span>
        {done !== null ? <span class="good">{shown(done)}</span> : name !== null && <LikelyName of={likely!} />}
      </div>
      {done === null && (
        <span
          class="tick" aria-hidden="true"
          onClick={(event) => {
            event.stopPropagation();
            onFocus();
            onTick();
          }}
        />
      )}
    </div>
  );
}
