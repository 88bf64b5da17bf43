import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { ClassInfo, Picture } from "../api.types";
import { api, checks, complaint } from "../app/api";
import { useApp, useKeys, useModel } from "../app/context";
import { useSize } from "../app/size";
import * as border from "../logic/border";
import { keyOf } from "../logic/keys";
import { shown } from "../logic/names";
import type { Standing } from "../logic/overlay";
import { evenly, slotsOf } from "../logic/sheet";
import { borderFound, count, MOST_AT_ONCE } from "../logic/texts";
import { ClassColumn, keepFocus } from "./ClassColumn";
import { GroupSheet } from "./GroupSheet";

const PAGE = 24;
const SEEDS = 20; // labelled pictures that stand for a class
const FETCH = 500;
const NOBODY: ReadonlySet<string> = new Set();

/** How far does a class go?  A few pages, and all that belongs is labelled. */
export function BorderSearch({ id }: { id: number | undefined }) {
  const model = useModel();
  useApp((app) => app.state?.classes);
  const owner = model.classes.find((c) => c.id === id);
  const back = () => model.visit({ screen: "gallery" });
  useKeys((meaning) => {
    if (!("command" in meaning) || meaning.command !== "close") return false;
    back();
    return true;
  });
  return (
    <main class="gallery" data-testid="border">
      <ClassColumn place="gallery" idle onReply={() => undefined} />
      {owner ? <Search key={owner.id} owner={owner} onBack={back} /> : (
        <div class="empty nothing">
          <p>This class is not here any more.</p>
          <button type="button" onClick={back}>Back to the groups</button>
        </div>
      )}
    </main>
  );
}

/** All open pictures, those that look most like the class first. */
function useRanked(owner: ClassInfo): { pictures: readonly Picture[] | null; failed: string | null } {
  const [pictures, setPictures] = useState<readonly Picture[] | null>(null);
  const [failed, setFailed] = useState<string | null>(null);
  useEffect(() => {
    let over = false;
    const load = async () => {
      const seeds = await api.images({ class: [owner.id], presence: ["here"] }, "-time", null, SEEDS);
      const pinned = owner.guide.examples.map((p) => p.id);
      const ids = [...new Set([...pinned, ...seeds.items.map((p) => p.id)])];
      if (ids.length === 0) throw new Error(`Nothing is labelled "${shown(owner.name)}" yet. Label one picture first.`);
      const found: Picture[] = [];
      let cursor: string | null = null;
      do {
        const page: Awaited<ReturnType<typeof checks.like>> = await checks.like({ ids, n: FETCH, for_class: owner.id, ...(cursor === null ? {} : { cursor }) });
        found.push(...page.items);
        cursor = page.next;
      } while (cursor !== null && found.length < MOST_AT_ONCE && !over);
      if (!over) setPictures(found.slice(0, MOST_AT_ONCE));
    };
    load().catch((error) => setFailed(error instanceof Error && error.constructor === Error ? error.message : complaint(error)));
    return () => {
      over = true;
    };
  }, [owner.id]);
  return { pictures, failed };
}

function Search({ owner, onBack }: { owner: ClassInfo; onBack: () => void }) {
  const model = useModel();
  const { pictures, failed } = useRanked(owner);
  const [search, setSearch] = useState<border.Border | null>(null);
  const ground = useRef<HTMLDivElement>(null);
  const { width, height } = useSize(ground, pictures !== null);
  useEffect(() => {
    if (pictures) setSearch(border.begun(pictures.length, PAGE));
  }, [pictures]);
  const key = (command: string) => keyOf(command, model.now.settings.bindings);
  const found = search !== null && border.isFound(search);
  const name = shown(owner.name);

  const answer = (all: boolean) => {
    if (!search || found) return;
    const next = border.answered(search, all);
    setSearch(next);
    if (border.isFound(next)) give(next);
  };
  const give = (ended: border.Border) => {
    const { labelled, shown: seen } = border.result(ended);
    if (labelled === 0) return;
    const ids = pictures!.map((p) => p.id);
    const images = ids.slice(0, labelled);
    const target: Standing = { state: "labelled", class: owner.id, source: "group" };
    model.submit({
      body: {
        kind: "group_labelled", class: owner.id, images, taken_out: [], shown: seen.map((i) => ids[i]),
        from: "border", scope: `All ${count(labelled)} before the border`,
      },
      text: `${count(labelled)} images labelled "${owner.name}"`,
      changes: pictures!.slice(0, labelled).map((p) => ({
        from: { state: p.state, class: p.class, source: p.source, sure: (p.sug?.p ?? 0) >= 0.8 }, to: target,
      })),
      overlay: new Map(images.map((image) => [image, target])),
    });
  };
  useKeys((meaning) => {
    if (!("command" in meaning)) return false;
    if (meaning.command === "label-group") found ? onBack() : answer(true);
    else if (meaning.command === "different") answer(false);
    else return false;
    return true;
  });

  const [from, to] = search ? border.inView(search) : [0, 0];
  const page = useMemo(() => (pictures ?? []).slice(from, to), [pictures, from, to]);
  const sheet = useMemo(() => evenly(page.length, width - 24, height - 36), [page, width, height]);
  const spots = useMemo(
    () => slotsOf(sheet).map((slot) => ({ slot, id: page[slot.index]!.id, picture: page[slot.index]! })),
    [page, sheet],
  );
  const progress = search && !found && `page ${count(search.answers + 1)}`;
  return (
    <>
      <header class="group-head">
        <h1 aria-live="polite">{found ? "The border" : `Do all of these belong to ${name}?`}</h1>
        {progress && <span class="dim">{progress}, {count(from + 1)} to {count(to)} of {count(search.total)} by likeness</span>}
        <button type="button" class="push quiet" onMouseDown={keepFocus} onClick={onBack}>Back to the groups <kbd>Esc</kbd></button>
      </header>
      <div class="ground" ref={ground}>
        {failed !== null && <div class="empty"><p>{failed}</p></div>}
        {found && <Found search={search} />}
        {search && !found && width > 0 && (
          <GroupSheet
            spots={spots} sheet={sheet} plain at={0} byKeys={() => false} out={NOBODY} onToggle={() => undefined} onPress={() => undefined}
            label={`Pictures ${count(from + 1)} to ${count(to)} by likeness`}
          />
        )}
      </div>
      <footer class="acts">
        {search && !found && (
          <>
            <button type="button" class="main" onMouseDown={keepFocus} onClick={() => answer(true)}>All <kbd>{key("label-group")}</kbd></button>
            <button type="button" onMouseDown={keepFocus} onClick={() => answer(false)}>Not all <kbd>{key("different")}</kbd></button>
            <span class="dim">Nothing is labelled before the border is found. One undo takes it back.</span>
          </>
        )}
      </footer>
    </>
  );
}

function Found({ search }: { search: border.Border }) {
  const { labelled, shown: seen } = border.result(search);
  const unseen = labelled - seen.length;
  return (
    <div class="empty">
      <p data-testid="border-found">{borderFound(labelled, search.answers)}</p>
      {unseen > 0 && <p class="dim">{count(unseen)} of them were never on screen.</p>}
    </div>
  );
}
