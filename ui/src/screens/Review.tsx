import type { ComponentChildren } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import type { Reviewed, Seen } from "../api.types";
import { full } from "../app/api";
import { acceptOf } from "../app/accept";
import { useApp, useKeys, useModel } from "../app/context";
import { useFocused } from "../app/focused";
import { usePart } from "../app/observable";
import { reviewOf, type ReviewSitting } from "../app/review";
import { keyOf, nameOf } from "../logic/keys";
import { shortened, shown } from "../logic/names";
import { Preloader } from "../logic/preload";
import { cellOf, sourceWords } from "../logic/checks";
import { count, STATE_WORDS } from "../logic/texts";
import { Accept, AcceptAsking } from "../parts/Accept";
import { Chip } from "../parts/Chip";
import { ClassColumn, keepFocus } from "../parts/ClassColumn";
import { Cell, Confusion } from "../parts/Confusion";
import { Disagreements } from "../parts/Disagreements";
import { GuideBox } from "../parts/Guide";
import { Stage, useZoom } from "../parts/Stage";
import { Thumbnail } from "../parts/Tile";

/** Labels to look at again: likely mistakes, what is taken for what, suggestions to accept. */
export function Review() {
  const part = useApp((app) => app.address.part) ?? "";
  if (cellOf(part)) return <Cell key={part} part={part} />;
  if (part === "confusion") return <Sheet><Confusion /></Sheet>;
  if (part === "accept") return <Accepting />;
  if (part === "disagreements") return <Disagreements tabs={(children) => <Tabs>{children}</Tabs>} />;
  return <Mistakes />;
}

function Accepting() {
  const sitting = acceptOf(useModel());
  const asking = usePart(sitting.state, (all) => all.asking);
  return asking ? <AcceptAsking sitting={sitting} /> : <Sheet><Accept /></Sheet>;
}

const SEVERAL = ["disagreements", "Disagreements"] as const;
const TABS = [["", "Likely mistakes"], ["confusion", "Confusion"], ["accept", "Accept suggestions"]] as const;

function Tabs({ children }: { children?: ComponentChildren }) {
  const part = useApp((app) => app.address.part) ?? "";
  const several = useApp((app) => (app.state?.people ?? null) !== null);
  const tabs = several || part === SEVERAL[0] ? [...TABS, SEVERAL] : TABS;
  return (
    <section class="tabs" aria-label="Parts of the review">
      <nav aria-label="Review parts">
        {tabs.map(([id, text]) => (
          <a key={id} href={id ? `#/review?part=${id}` : "#/review"} aria-current={part === id ? "page" : undefined}>
            {text}
          </a>
        ))}
      </nav>
      {children}
    </section>
  );
}

function Sheet({ children }: { children: ComponentChildren }) {
  return (
    <main class="review-sheet">
      <h1 class="said">Review</h1>
      <Tabs />
      <div class="scrolls" tabIndex={0}><div class="sheet">{children}</div></div>
    </main>
  );
}

function Mistakes() {
  const model = useModel();
  const sitting = reviewOf(model);
  const { items, at, total, labels, loaded, decided } = usePart(sitting.list, (all) => all);
  useApp((app) => app.state);
  useApp((app) => app.overlay);
  const preloader = useMemo(() => new Preloader(), []);
  const item = sitting.current;
  const look = useApp((app) => app.look);
  const zoom = useZoom(item?.picture);
  useEffect(() => sitting.begin(), []);
  useEffect(() => preloader.show(items.map((i) => full(i.picture, false, look)), at), [items, at, look]);
  useFocused(() => item && { ids: [item.picture.id], class: sitting.standing(item.picture).class });
  useKeys((meaning) => {
    if ("classId" in meaning) sitting.reply({ class: meaning.classId });
    else if (!("command" in meaning)) return false;
    else if (["later", "unsure", "none", "broken"].includes(meaning.command)) sitting.reply({ state: meaning.command });
    else if (meaning.command === "keep") sitting.keep();
    else if (meaning.command === "hide") model.set({ hide: !model.now.settings.hide });
    else if (meaning.command === "next") sitting.step(1);
    else if (meaning.command === "previous") sitting.step(-1);
    else return zoom.command(meaning.command);
    return true;
  });
  const { looked, wrong } = sitting.score;
  const left = total - decided.size;
  return (
    <div class="review">
      <Tabs>
        {loaded && total > 0 && (
          <p data-testid="review-score">
            <b>Likely mistakes: {count(total)}</b>
            {looked > 0 && <span class="dim">so far {count(wrong)} of {count(looked)} looked at were really wrong</span>}
          </p>
        )}
      </Tabs>
      <ClassColumn place="review" idle={item === null} onReply={(given) => sitting.reply(given)} />
      <main class="stage" aria-label="Picture with a label that may be wrong">
        <h1 class="said">Review</h1>
        {item ? (
          <Stage picture={item.picture} zoom={zoom} onStep={(by) => sitting.step(by)} onGone={async () => false}>
            {decided.get(item.picture.id) && (
              <p class="answer">Decided: {shown(decided.get(item.picture.id)!.words)}</p>
            )}
          </Stage>
        ) : (
          <Nothing loaded={loaded} total={total} left={left} labels={labels} sitting={sitting} />
        )}
      </main>
      <aside class="sides" aria-label="The label and the suggestion">
        {item && <Sides item={item} sitting={sitting} />}
        {item && <GuideBox about={item.to} />}
        {item && (
          <div class="row foot">
            <span class="dim place">{count(at + 1)} of {count(Math.max(total, items.length))}</span>
            <span class="dim file" title={shown(item.picture.name)}>{shortened(item.picture.name, 34)}</span>
          </div>
        )}
      </aside>
    </div>
  );
}

/** Keep first and on purpose: about half of what such a list holds is right. */
function Sides({ item, sitting }: { item: Reviewed; sitting: ReviewSitting }) {
  const model = useModel();
  const { bindings } = model.now.settings;
  const now = sitting.standing(item.picture);
  const from = sourceWords(item.picture.source);
  const change = model.classes.find((c) => c.id === item.to);
  const key = item.to === null ? "n" : change?.key ?? null;
  const hide = useApp((app) => app.settings.hide);
  return (
    <>
      <section aria-label="The label now">
        <p class="which"><span class="dim">Now:</span> <ClassName id={now.class} state={now.state} />{from && <span class="dim">({from})</span>}</p>
        <Nearest pictures={item.near_label} />
        <button type="button" data-testid="review-keep" onMouseDown={keepFocus} onClick={() => sitting.keep()}>
          Keep <kbd>Enter</kbd>
        </button>
      </section>
      <section aria-label="The suggestion">
        {hide ? (
          <p class="which"><span class="dim">The suggestion is hidden.</span> <kbd>{keyOf("hide", bindings)}</kbd></p>
        ) : (
          <>
            <p class="which"><span class="dim">Suggested:</span> <ClassName id={item.to} state="none" /></p>
            <Nearest pictures={item.near_to} />
            <button type="button" data-testid="review-change" onMouseDown={keepFocus} onClick={() => sitting.change()}>
              Change {key !== null && <kbd>{nameOf(key)}</kbd>}
            </button>
          </>
        )}
        <span class="dim">any class key changes</span>
      </section>
    </>
  );
}

function ClassName({ id, state }: { id: number | null; state: string }) {
  const model = useModel();
  const owner = model.classes.find((c) => c.id === id);
  if (owner) return <span class="row"><Chip of={owner} /> <b>{shown(owner.name)}</b></span>;
  return <b>{STATE_WORDS[state] ?? state}</b>;
}

function Nearest({ pictures }: { pictures: readonly Seen[] }) {
  if (pictures.length === 0) return <p class="dim">No other picture of this class.</p>;
  return (
    <div class="nearest" role="img" aria-label={`The ${pictures.length} nearest of this class`}>
      {pictures.map((p) => <span key={p.id} class="thumb"><Thumbnail of={p} tile={96} /></span>)}
    </div>
  );
}

function Nothing({ loaded, total, left, labels, sitting }: {
  loaded: boolean; total: number; left: number; labels: number; sitting: ReviewSitting;
}) {
  if (!loaded) return <div class="empty" aria-busy="true" />;
  if (total === 0) {
    return (
      <div class="empty">
        <p>No likely mistakes found in {count(labels)} labels. That is not proof: see Audit.</p>
        <a class="button" href="#/audit">Check the result (Audit)</a>
      </div>
    );
  }
  return (
    <div class="empty">
      <p>{left > 0 ? `The end of the list. ${count(left)} were passed over.` : "Every one was looked at."}</p>
      <div class="row">
        <button type="button" class="main" onClick={() => void sitting.load()}>Look again</button>
        <a class="button" href="#/audit">Check the result (Audit)</a>
      </div>
    </div>
  );
}
