import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { useApp, useKeys, useModel } from "../app/context";
import { useFocused } from "../app/focused";
import { galleryOf } from "../app/gallery";
import type { Reply } from "../app/model";
import { usePart } from "../app/observable";
import { useSize } from "../app/size";
import * as gallery from "../logic/gallery";
import { TILE_SIZES } from "../logic/grid";
import { keyOf } from "../logic/keys";
import { shown } from "../logic/names";
import { movedOn, sheetOf, slotsOf } from "../logic/sheet";
import { count, groupAt, groupSize, labelAll, onlyShown, takenOut, unseen } from "../logic/texts";
import { BorderSearch } from "../parts/BorderSearch";
import { ClassColumn, keepFocus } from "../parts/ClassColumn";
import { NoGroups } from "../parts/NoGroups";
import { GroupSheet, type Spot } from "../parts/GroupSheet";
import { LikelyName, useNameOf } from "../parts/Likely";
import { Overview } from "../parts/Overview";
import { PairCard } from "../parts/PairCard";
import { Peek, usePeek } from "../parts/Peek";

/** Pictures that are alike, a page at a time: one key for all of them. */
export function Gallery() {
  const model = useModel();
  const groups = galleryOf(model);
  const part = useApp((app) => app.address.part);
  const about = useApp((app) => app.address.filter.class);
  const line = usePart(groups.view, (view) => view.line);
  const rev = useApp((app) => app.state?.groups_rev ?? 0);
  useEffect(() => groups.enter(), [rev > 0]);
  const entry = gallery.current(line);
  if (part === "all" && line.entries.length > 0) return <Overview />;
  if (part === "same" && entry) return <Overview sameAs={entry.group.id} />;
  if (part === "cards") return <PairCard />;
  if (part === "border") return <BorderSearch id={about} />;
  if (!entry) return <NoGroups />;
  return <OneGroup key={entry.group.id} entry={entry} />;
}

function OneGroup({ entry }: { entry: gallery.Entry }) {
  const model = useModel();
  const groups = galleryOf(model);
  const { line, total } = usePart(groups.view, (view) => view);
  const tile = useApp((app) => app.settings.tile);
  const hide = useApp((app) => app.settings.hide);
  useApp((app) => app.state?.classes);
  const nameOf = useNameOf();
  const ground = useRef<HTMLDivElement>(null);
  const { width, height } = useSize(ground);
  const [at, setAt] = useState(0);
  const [only, setOnly] = useState(false);
  const peek = usePeek();
  const { group, out, done } = entry;

  const ids = gallery.left(line, entry);
  const sheet = useMemo(() => sheetOf(ids.length, width - 24, height - 36, tile), [ids.length, width, height, tile]);
  const spots = useMemo(() => spotsOf(group, ids, sheet), [group, ids, sheet]);
  const onScreen = spots.map((spot) => spot.id);
  const all = ids.filter((id) => !out.has(id));
  const some = onScreen.filter((id) => !out.has(id));
  const likely = done === null && !hide ? group.likely : null;
  const name = nameOf(likely);
  const focus = Math.min(at, Math.max(0, spots.length - 1));
  const spot = spots[focus];
  useFocused(() => (spot ? { ids: [spot.id], class: null } : null));

  const reply = (given: Reply, few = only) => {
    // All that is on the screen was taken out: what is left was never seen.
    if (some.length === 0) return model.tell("Every picture on the screen is taken out. Put one back, or press O.", "careful");
    model.glowFor(given);
    setOnly(false);
    setAt(0);
    groups.answer(given, onScreen, few);
  };
  const accept = (few: boolean) => {
    if (likely && name !== null) {
      return reply(likely.class === null ? { state: "none" } : { class: likely.class }, few);
    }
    if (few) setOnly((is) => !is);
    else model.tell("No class is likely here. Press the key of a class, or / to type one.");
  };
  const toggle = (index: number) => {
    const id = spots[index]?.id;
    if (id === undefined) return;
    setAt(index);
    groups.toggle([id], !out.has(id));
    model.app.set({ said: out.has(id) ? "put back" : "out" });
  };
  const resize = (by: 1 | -1) => {
    const next = TILE_SIZES[TILE_SIZES.indexOf(tile as (typeof TILE_SIZES)[number]) + by];
    if (next) model.set({ tile: next });
  };

  useKeys((meaning) => {
    if ("classId" in meaning) reply({ class: meaning.classId });
    else if ("move" in meaning) {
      groups.byKeys = true;
      setAt(movedOn(spots.map((s) => s.slot), focus, meaning.move));
    }
    else if (meaning.command === "label-group") accept(false);
    else if (meaning.command === "label-shown") accept(true);
    else if (meaning.command === "take-out") toggle(focus);
    else if (meaning.command === "take-all") {
      const taking = some.length === onScreen.length;
      groups.toggle(onScreen, taking);
      model.tell(taking ? `${takenOut(onScreen.length)}.` : "All put back.");
    } else if (meaning.command === "halve") void groups.halve();
    else if (meaning.command === "mixed") void groups.aside([group.id], "mixed");
    else if (meaning.command === "later-selected") void groups.aside([group.id], "later");
    else if (meaning.command === "same") model.visit({ screen: "gallery", part: "same" });
    else if (meaning.command === "next-group") groups.step(1);
    else if (meaning.command === "previous-group") groups.step(-1);
    else if (meaning.command === "larger-tiles") resize(1);
    else if (meaning.command === "smaller-tiles") resize(-1);
    else if (meaning.command === "hide") model.set({ hide: !hide });
    else if (meaning.command === "large-held" && spot) peek.hold(spot.picture ?? { id: spot.id, v: null });
    else if (meaning.command === "close") model.visit({ screen: "gallery", part: "all" });
    else if (["unsure", "none", "broken"].includes(meaning.command)) reply({ state: meaning.command });
    else return false;
    return true;
  });

  const rest = unseen(done === null ? all.length - some.length : 0);
  const key = (command: string) => keyOf(command, model.now.settings.bindings);
  return (
    <main
      class="gallery" data-testid="group" data-group={group.id} data-open={ids.length}
    >
      <ClassColumn place="gallery" onReply={(given) => {
        if ("state" in given && given.state === "later") void groups.aside([group.id], "later");
        else reply(given);
      }} />
      <header class="group-head">
        <span class="row turn">
          <button type="button" class="quiet" onMouseDown={keepFocus} onClick={() => groups.step(-1)}><span aria-hidden="true">‹</span> <span class="said">Previous group</span> <kbd>{key("previous-group")}</kbd></button>
          <h1 aria-live="polite">{groupAt(line.at + 1, Math.max(total, line.entries.length))}</h1>
          <button type="button" class="quiet" onMouseDown={keepFocus} onClick={() => groups.step(1)}><span class="said">Next group</span> <kbd>{key("next-group")}</kbd> <span aria-hidden="true">›</span></button>
        </span>
        <span class="dim">{groupSize(ids.length, onScreen.length)}</span>
        {out.size > 0 && <span class="careful" data-testid="taken-out">{takenOut(out.size)}</span>}
        {done !== null && <span class="good">Answered: {shown(done)}. Another answer replaces it.</span>}
        {likely && name !== null && (
          <span class="row likely" data-testid="suggestion">likely: <LikelyName of={likely} words="brackets" /></span>
        )}
        {hide && done === null && (
          <button type="button" class="quiet" onMouseDown={keepFocus} onClick={() => model.set({ hide: false })}>
            Suggestions are hidden <kbd>{key("hide")}</kbd>
          </button>
        )}
        <span class="push row">
          {groups.cards.length > 0 && (
            <a class="button quiet" href="#/gallery?part=cards">Same class? {count(groups.cards.length)}</a>
          )}
          <a class="button quiet" href="#/gallery?part=all">All groups <kbd>Esc</kbd></a>
        </span>
      </header>
      <div class="ground" ref={ground}>
        {width > 0 && (
          <GroupSheet
            spots={spots} sheet={sheet} at={focus} out={out} byKeys={() => groups.byKeys}
            onPress={(s) => {
              groups.byKeys = false;
              peek.press(s.picture ?? { id: s.id, v: null });
            }}
            label={`Group of ${count(ids.length)}: what is selected is labelled`}
            onToggle={(index) => !peek.wasLong() && toggle(index)}
          />
        )}
      </div>
      <footer class="acts">
        {name !== null ? (
          <button
            type="button" class="main" data-testid="btn-label-group" disabled={some.length === 0}
            onMouseDown={keepFocus} onClick={() => accept(false)}
          >
            {labelAll(all.length, shown(name))} <kbd>{key("label-group")}</kbd>
          </button>
        ) : (
          <span class="scope" data-testid="btn-label-group">
            <b>{only ? onlyShown(some.length) : labelAll(all.length, null)}</b>
            <span class="dim"> with a class key or a click on a class</span>
          </span>
        )}
        {rest && (
          <button
            type="button" data-testid="btn-label-shown" aria-pressed={name === null ? only : undefined}
            onMouseDown={keepFocus} onClick={() => accept(true)}
          >
            {onlyShown(some.length)} <kbd>{key("label-shown")}</kbd>
          </button>
        )}
        {rest && <span class={rest.many ? "careful" : "dim"} data-testid="unseen">{rest.text}</span>}
        <span class="row others-to-do">
          <button type="button" onMouseDown={keepFocus} onClick={() => void groups.halve()}>Halve it <kbd>{key("halve")}</kbd></button>
          <button type="button" onMouseDown={keepFocus} onClick={() => void groups.aside([group.id], "mixed")}>Not one class <kbd>{key("mixed")}</kbd></button>
          <button type="button" onMouseDown={keepFocus} onClick={() => model.visit({ screen: "gallery", part: "same" })}>
            Same as… <kbd>{key("same")}</kbd>
          </button>
          <button type="button" onMouseDown={keepFocus} onClick={() => void groups.aside([group.id], "later")}>Later <kbd>{key("later-selected")}</kbd></button>
        </span>
      </footer>
      {peek.picture && <Peek picture={peek.picture} />}
    </main>
  );
}

/** The pictures of a group on their places: the first ones typical, the last the least so. */
function spotsOf(group: gallery.Entry["group"], ids: readonly string[], sheet: ReturnType<typeof sheetOf>): Spot[] {
  const known = new Map([...group.typical, ...group.edge].map((p) => [p.id, p] as const));
  const edge = ids.slice(ids.length - sheet.edge);
  return slotsOf(sheet).map((slot) => {
    const id = (slot.edge ? edge : ids)[slot.index]!;
    return { id, slot, picture: known.get(id) ?? null };
  });
}

