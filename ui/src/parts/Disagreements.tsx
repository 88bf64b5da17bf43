import type { ComponentChildren } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import type { Agreed, Disagreement, Vote } from "../api.types";
import { full } from "../app/api";
import { useApp, useKeys, useModel } from "../app/context";
import { disagreementsOf, type Disagreeing } from "../app/disagreements";
import { useFocused } from "../app/focused";
import type { Reply } from "../app/model";
import { usePart } from "../app/observable";
import { nameOf } from "../logic/keys";
import { shortened, shown } from "../logic/names";
import { Preloader } from "../logic/preload";
import { count, STATE_WORDS } from "../logic/texts";
import { Chip } from "./Chip";
import { ClassColumn, keepFocus } from "./ClassColumn";
import { Stage, useZoom } from "./Stage";

/** What two people said of one picture, one after the other, and what it is settled as. */
export function Disagreements({ tabs }: { tabs: (children: ComponentChildren) => ComponentChildren }) {
  const model = useModel();
  const sitting = disagreementsOf(model);
  const { items, at, loaded, settled, agreement } = usePart(sitting.list, (all) => all);
  useApp((app) => app.state);
  const item = sitting.current;
  const look = useApp((app) => app.look);
  const zoom = useZoom(item?.picture);
  const preloader = useMemo(() => new Preloader(), []);
  useEffect(() => sitting.begin(), []);
  useEffect(() => preloader.show(items.map((i) => full(i.picture, false, look)), at), [items, at, look]);
  useFocused(() => item && { ids: [item.picture.id], class: null });
  const settle = (reply: Reply) => {
    model.glowFor(reply);
    sitting.settle(reply);
  };
  useKeys((meaning) => {
    if ("classId" in meaning) settle({ class: meaning.classId });
    else if (!("command" in meaning)) return false;
    else if (["later", "unsure", "none", "broken"].includes(meaning.command)) settle({ state: meaning.command });
    else if (meaning.command === "next") sitting.step(1);
    else if (meaning.command === "previous") sitting.step(-1);
    else return zoom.command(meaning.command);
    return true;
  });
  const done = item && settled.get(item.picture.id);
  return (
    <div class="review">
      {tabs(loaded && <p data-testid="disagreements"><b>Disagreements: {count(sitting.left)}</b></p>)}
      <ClassColumn place="review" idle={item === null} onReply={settle} />
      <main class="stage" aria-label="Picture of which people said different things">
        <h1 class="said">Disagreements</h1>
        {item ? (
          <Stage picture={item.picture} zoom={zoom} onStep={(by) => sitting.step(by)} onGone={async () => false}>
            {done && <p class="answer">Settled: {shown(STATE_WORDS[done.words] ?? done.words)}</p>}
          </Stage>
        ) : (
          <Nothing sitting={sitting} />
        )}
      </main>
      <aside class="sides" aria-label="What each said">
        {item && <Said item={item} onSettle={settle} />}
        <Agreement of={agreement} />
        {item && (
          <div class="row foot">
            <span class="dim place">{count(at + 1)} of {count(items.length)}</span>
            <span class="dim file" title={shown(item.picture.name)}>{shortened(item.picture.name, 34)}</span>
          </div>
        )}
      </aside>
    </div>
  );
}

function Said({ item, onSettle }: { item: Disagreement; onSettle: (reply: Reply) => void }) {
  const answers = distinct(item.answers);
  return (
    <>
      <section aria-label="Answers">
        {item.answers.map((vote) => (
          <p key={vote.person} class="which" data-testid="vote">
            <span class="dim">{shown(vote.person)}:</span> <Given vote={vote} />
          </p>
        ))}
      </section>
      <section aria-label="Settle as">
        <p class="dim">Settle as…</p>
        {answers.map((vote) => <Settle key={`${vote.state}.${vote.class}`} vote={vote} onSettle={onSettle} />)}
        <span class="dim">any class key settles it too</span>
      </section>
    </>
  );
}

function Settle({ vote, onSettle }: { vote: Vote; onSettle: (reply: Reply) => void }) {
  const model = useModel();
  const owner = model.classes.find((c) => c.id === vote.class);
  const key = vote.class === null ? { none: "n", broken: "i" }[vote.state as string] : owner?.key;
  const reply: Reply = vote.class === null ? { state: vote.state } : { class: vote.class };
  return (
    <button type="button" data-testid="settle" onMouseDown={keepFocus} onClick={() => onSettle(reply)}>
      {shown(owner?.name ?? STATE_WORDS[vote.state] ?? vote.state)} {key && <kbd>{nameOf(key)}</kbd>}
    </button>
  );
}

function Given({ vote }: { vote: Vote }) {
  const model = useModel();
  const owner = model.classes.find((c) => c.id === vote.class);
  if (!owner) return <b>{STATE_WORDS[vote.state] ?? vote.state}</b>;
  return <span class="row"><Chip of={owner} /> <b>{shown(owner.name)}</b></span>;
}

/** Each answer once, as it was first given; unsure settles nothing. */
function distinct(answers: readonly Vote[]): Vote[] {
  const all = new Map(answers.filter((v) => v.state !== "unsure").map((v) => [`${v.state}.${v.class}`, v]));
  return [...all.values()];
}

/** How often any two people who were asked the same pictures agree. */
function Agreement({ of }: { of: readonly Agreed[] }) {
  if (of.length === 0) return null;
  return (
    <section aria-label="Agreement" data-testid="agreement">
      {of.map((one) => <p key={`${one.a}/${one.b}`}>{shown(one.text)}</p>)}
    </section>
  );
}

function Nothing({ sitting }: { sitting: Disagreeing }) {
  const { loaded, items, twice } = sitting.now;
  if (!loaded) return <div class="empty" aria-busy="true" />;
  if (items.length > 0) {
    return (
      <div class="empty">
        <p>{sitting.left > 0 ? `The end of the list. ${count(sitting.left)} were passed over.` : "Every one is settled."}</p>
        <button type="button" class="main" onClick={() => void sitting.load()}>Look again</button>
      </div>
    );
  }
  return (
    <div class="empty">
      <p>
        {twice > 0
          ? `No disagreements in ${count(twice)} pictures that two people answered.`
          : "No picture was answered by two people yet. One in twenty is asked twice, at least 30."}
      </p>
      <a class="button" href="#/queue">Go to the queue</a>
    </div>
  );
}
