import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Alikes, Picture } from "../api.types";
import { api, checks, complaint, thumbnail } from "../app/api";
import { useApp, useModel } from "../app/context";
import type { Reply } from "../app/model";
import { keyOf } from "../logic/keys";
import { count } from "../logic/texts";
import { shown } from "../logic/names";
import { PictureGrid } from "../parts/PictureGrid";

const PAGE = 120;
const MOST = 1000; // examples that the server takes

interface Found {
  items: readonly Picture[];
  next: string | null;
  total: number;
  bound: string | null;
}

/** Pictures like the ones given, the likest first; answers make the next look better. */
export function Find() {
  const given = useApp((app) => app.address.like ?? NONE);
  const about = useApp((app) => app.address.filter.class ?? null);
  const features = useApp((app) => app.state?.features ?? null);
  const examples = useExamples(given.length === 0 ? about : null);
  const like = given.length > 0 ? given : examples;
  if (!features) {
    return <Empty>The pictures are still being compared. This opens as soon as they are.</Empty>;
  }
  if (like === null) return <Empty />;
  if (like.length === 0) {
    return about === null
      ? <Empty>Go to a picture and press <kbd>Shift+F</kbd>: this finds more like it.</Empty>
      : <Empty>This class has no picture yet that others could be compared with. Label one first.</Empty>;
  }
  return <Search key={`${like.join()} ${about}`} like={like} about={about} />;
}

function Empty({ children }: { children?: ComponentChildren }) {
  return <main class="empty" aria-busy={!children}><h1 class="said">Find more like this</h1>{children && <p>{children}</p>}</main>;
}

const EXAMPLES = 5;

/** What was answered last of a class; null while it is being asked. */
function useExamples(of: number | null): readonly string[] | null {
  const model = useModel();
  const [found, setFound] = useState<readonly string[] | null>(of === null ? NONE : null);
  useEffect(() => {
    if (of === null) return setFound(NONE);
    let over = false;
    setFound(null);
    api.images({ class: [of], presence: ["here"], state: ["labelled"] }, "-time", null, EXAMPLES).then(
      (page) => !over && setFound(page.items.map((p) => p.id)),
      (error) => !over && model.tell(complaint(error), "careful"),
    );
    return () => {
      over = true;
    };
  }, [of]);
  return found;
}

const NONE: readonly string[] = [];

function Search({ like, about }: { like: readonly string[]; about: number | null }) {
  const model = useModel();
  useApp((app) => app.state?.classes);
  const [found, setFound] = useState<Found | null>(null);
  const [wanted, setWanted] = useState<number | null>(about); // the class that is looked for
  const [all, setAll] = useState(false);
  const [look, setLook] = useState(0); // counts the looks: answers refine the next one
  const answers = useRef<{ yes: Set<string>; no: Set<string> }>({ yes: new Set(), no: new Set() });
  const [fresh, setFresh] = useState(0); // answers since the last look
  const have = useRef<Found | null>(null);
  const busy = useRef<Promise<void>>(Promise.resolve());

  const ask = (cursor: string | null): Promise<Alikes> => {
    const { yes, no } = answers.current;
    return checks.like({
      ids: [...new Set([...like, ...yes])].slice(0, MOST), not_ids: [...no].slice(0, MOST), n: PAGE, all,
      ...(cursor === null ? {} : { cursor }), ...(wanted === null ? {} : { for_class: wanted }),
    });
  };
  const load = async (n: number, anew: boolean) => {
    let now = anew ? null : have.current;
    while (now === null || (now.next !== null && now.items.length < n)) {
      const page: Alikes = await ask(now?.next ?? null);
      now = { items: [...(now?.items ?? []), ...page.items], next: page.next, total: page.total, bound: page.bound };
      if (page.items.length === 0) break;
    }
    have.current = now;
    setFound(now);
  };
  const until = (n: number, anew = false): Promise<void> => {
    busy.current = busy.current.then(() => load(n, anew)).catch((error) => model.tell(complaint(error), "careful"));
    return busy.current;
  };
  useEffect(() => {
    setFresh(0);
    void until(1, true);
  }, [look, all, wanted]);

  const wantedSoon = useRef<number | null>(null);
  const onAnswered = (ids: readonly string[], reply: Reply) => {
    const said = model.described(reply);
    if (said.state === "later" || said.state === "unsure" || said.state === "broken") return;
    let target = wanted ?? wantedSoon.current;
    if (target === null && said.class !== undefined && said.class >= 0) {
      target = said.class; // the first class given is the one looked for
      wantedSoon.current = target;
    }
    for (const id of ids) {
      const is = said.class !== undefined && (target === null || said.class === target);
      answers.current[is ? "yes" : "no"].add(id);
      answers.current[is ? "no" : "yes"].delete(id);
    }
    setFresh((n) => n + ids.length);
  };
  const again = () => {
    if (wanted === null && wantedSoon.current !== null) setWanted(wantedSoon.current);
    setLook((n) => n + 1);
  };

  const { yes, no } = answers.current;
  return (
    <PictureGrid
      title="Find more like this" from="find" of={`${like.join()} ${look} ${all} ${wanted}`} items={found?.items ?? []}
      total={found?.total ?? 0} until={(n) => until(n)} advance onAnswered={onAnswered} onClose={() => history.back()}
      onAgain={() => fresh > 0 && again()}
      top={
        <div class="filters find">
          <span class="row">
            Like
            {like.slice(0, 6).map((id) => <img key={id} src={thumbnail({ id, v: null }, 96)} alt="" width={40} height={40} />)}
            {like.length > 6 && <span class="dim">and {count(like.length - 6)} more</span>}
          </span>
          <label class="row">
            looking for
            <select value={wanted === null ? "" : String(wanted)} onChange={(e) => setWanted(e.currentTarget.value === "" ? null : Number(e.currentTarget.value))}>
              <option value="">no class yet</option>
              {model.classes.filter((c) => c.id >= 0).map((c) => <option key={c.id} value={c.id}>{shown(c.name)}</option>)}
            </select>
          </label>
          <label class="choice"><input type="checkbox" checked={all} onChange={() => setAll(!all)} /> answered ones, too</label>
          <button type="button" class={fresh > 0 ? "main" : ""} disabled={fresh === 0} data-testid="find-again" onClick={again}>
            Look again{fresh > 0 ? ` with ${count(fresh)} ${fresh === 1 ? "answer" : "answers"}` : ""}{" "}
            <kbd>{keyOf("again", model.now.settings.bindings)}</kbd>
          </button>
          {yes.size + no.size > 0 && <span class="dim">{count(yes.size)} are it, {count(no.size)} are not</span>}
          {found?.bound && <p class="bound" data-testid="find-bound">{shown(found.bound)}</p>}
        </div>
      }
      empty={found && found.total === 0 ? <div class="empty"><p>Nothing that is still open looks like this.</p><button type="button" onClick={() => setAll(true)}>Show answered ones, too</button></div> : null}
    />
  );
}
