import { useEffect, useMemo } from "preact/hooks";
import type { AuditResult, Mistake } from "../api.types";
import { full } from "../app/api";
import { auditOf, type AuditSitting } from "../app/audit";
import { useApp, useKeys, useModel } from "../app/context";
import type { Reply } from "../app/model";
import { usePart } from "../app/observable";
import { shown } from "../logic/names";
import { Preloader } from "../logic/preload";
import { current } from "../logic/queue";
import { count, STATE_WORDS } from "../logic/texts";
import { Chip } from "../parts/Chip";
import { ClassColumn } from "../parts/ClassColumn";
import { GuideBox } from "../parts/Guide";
import { Stage, useZoom } from "../parts/Stage";
import { Thumbnail } from "../parts/Tile";

/** The blind check: random pictures without a suggestion, and what they say in the end. */
export function Audit() {
  const model = useModel();
  const sitting = auditOf(model);
  const { standing } = usePart(sitting.sitting, (all) => all);
  const reload = useApp((app) => app.reload);
  const any = useApp((app) => {
    const counts = app.state?.counts;
    return counts ? counts.by_you + counts.in_groups + counts.by_model > 0 : false;
  });
  useEffect(() => sitting.begin(), []);
  useEffect(() => {
    if (reload > 0) void sitting.look();
  }, [reload]);
  if (!standing) return <main class="empty" aria-busy="true"><h1 class="said">Audit</h1></main>;
  if (!any && standing.answered === 0) {
    return (
      <main class="empty">
        <h1 class="said">Audit</h1>
        <p>No labels to check yet.</p>
        <a class="button" href="#/queue">Go to the queue</a>
      </main>
    );
  }
  return sitting.asking ? <Asking sitting={sitting} /> : <Outcome sitting={sitting} />;
}

function Asking({ sitting }: { sitting: AuditSitting }) {
  const model = useModel();
  const { standing, line, over, result } = usePart(sitting.sitting, (all) => all);
  const preloader = useMemo(() => new Preloader(), []);
  const entry = current(line);
  const look = useApp((app) => app.look);
  const zoom = useZoom(entry);
  useEffect(() => {
    preloader.show(line.entries.map((e) => full(e, false, look)), line.at);
  }, [line, look]);
  const reply = (given: Reply) => {
    zoom.reset();
    sitting.answer(given);
  };
  useKeys((meaning) => {
    if ("classId" in meaning) reply({ class: meaning.classId });
    else if (!("command" in meaning)) return false;
    else if (["later", "unsure", "none", "broken"].includes(meaning.command)) reply({ state: meaning.command });
    else if (meaning.command === "next") sitting.step(1);
    else if (meaning.command === "previous") sitting.step(-1);
    else if (meaning.command === "undo-answer") model.undo();
    else return zoom.command(meaning.command);
    return true;
  });
  const { answered, wanted, min } = standing!;
  const given = entry?.answer;
  const owner = model.classes.find((c) => c.id === given?.class);
  return (
    <div class="queue audit">
      <ClassColumn place="audit" idle={entry === null} onReply={reply} />
      <main class="stage" aria-label="Picture to answer blind">
        <h1 class="said">Audit</h1>
        {entry ? (
          <Stage
            picture={entry} zoom={zoom} onStep={(by) => sitting.step(by)}
            onGone={(id) => sitting.failed(id)}
          >
            {given && (
              <p class="answer">
                Your answer: {owner ? <><Chip of={owner} /> {shown(owner.name)}</> : given.name ?? STATE_WORDS[given.state ?? ""]}
              </p>
            )}
          </Stage>
        ) : (
          <div class="empty" aria-busy={!over}>
            {over && <p>Every picture that can be drawn has been asked.</p>}
            {over && <CloseButton sitting={sitting} answered={answered} min={min} main />}
          </div>
        )}
      </main>
      <aside class="beside" aria-label="Blind check">
        <h2>Blind check</h2>
        <p class="tally" data-testid="audit-n">{count(answered)} of {count(wanted)}</p>
        <progress value={answered} max={wanted} aria-label="Blind answers" />
        <p class="what">Answer as if you saw it for the first time.</p>
        {sitting.left && <p class="what">{sitting.left}</p>}
        {result && (
          <div class="glance" data-testid="audit-glance">
            <p>{result.text}</p>
            <p class="what">Go on as planned: looking often and stopping when it pleases bends the number.</p>
          </div>
        )}
        <hr />
        <GuideBox blind={entry?.id ?? null} />
        {entry && answered > 0 && <CloseButton sitting={sitting} answered={answered} min={min} />}
      </aside>
    </div>
  );
}

function CloseButton({ sitting, answered, min, main }: {
  sitting: AuditSitting; answered: number; min: number; main?: boolean;
}) {
  return (
    <div class="closing">
      <button type="button" class={main ? "main" : ""} onClick={() => void sitting.close()}>
        Stop here and see the result
      </button>
      {answered < min && <p class="what">A percentage needs {min}.</p>}
    </div>
  );
}

const CLOCK = new Intl.DateTimeFormat("en-GB", {
  day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit",
  hourCycle: "h23",
});

/** The card with the number, when all were answered or the check was closed. */
function Outcome({ sitting }: { sitting: AuditSitting }) {
  const { standing, result, mistakes } = usePart(sitting.sitting, (all) => all);
  const closed = standing!.closed;
  return (
    <main class="scrolls" tabIndex={0}>
      <div class="sheet">
        <header><h1>Audit</h1>{result && closed && <p class="dim">closed {CLOCK.format(new Date(result.at * 1000))}</p>}</header>
        {result ? <Card result={result} closed={closed} /> : <p>{count(standing!.answered)} blind answers are stored.</p>}
        <div class="row">
          {!closed && (
            <button type="button" class="main" onClick={() => void sitting.close()}>Close the check</button>
          )}
          {closed && result !== null && result.mistakes > 0 && mistakes === null && (
            <button type="button" class="main" onClick={() => void sitting.showMistakes()}>
              {result.mistakes === 1 ? "Show the mistake" : `Show the ${count(result.mistakes)} mistakes`}
            </button>
          )}
          <button type="button" onClick={() => void sitting.more()}>Ask 150 more</button>
          {closed && <a class="button" href="#/export">Use in report</a>}
        </div>
        {!closed && (
          <p class="dim">
            Until it is closed the blind answers stay aside: they change no label, and the mistakes are not shown.
          </p>
        )}
        {closed && mistakes && result && <MistakeList items={mistakes} closedAt={result.at} />}
        {result && closed && result.classes.length > 0 && <PerClass result={result} />}
      </div>
    </main>
  );
}

/** `94.7 %` stands out of the sentence that the server has written. */
function Card({ result, closed }: { result: AuditResult; closed: boolean }) {
  const [, share, rest] = /^([\d.,]+\s?%)(.*)$/s.exec(result.text) ?? [null, null, result.text];
  return (
    <section class={`card-result ${closed ? "" : "running"}`} data-testid="audit-result" aria-label="Result">
      <p class="verdict">{share && <span class="share">{share}</span>}{rest}</p>
      {result.low !== null && result.high !== null && <Interval k={result.k / result.n} low={result.low} high={result.high} />}
      <p>{result.scope}</p>
      <p>{result.caution}</p>
      {result.notes.map((note) => <p key={note} class="careful">{note}</p>)}
      {result.agreement.text && <p class="careful">{result.agreement.text}</p>}
    </section>
  );
}

/** From `low` to `high` on a line that begins where it is worth looking. */
function Interval({ k, low, high }: { k: number; low: number; high: number }) {
  const from = Math.max(0, Math.floor((low - 0.05) * 10) / 10);
  const at = (p: number) => `${((p - from) / (1 - from)) * 100}%`;
  const percent = (p: number) => `${(p * 100).toFixed(0)} %`;
  return (
    <div class="interval" aria-hidden="true">
      <span class="axis"><i style={{ left: at(low), right: `calc(100% - ${at(high)})` }} /><b style={{ left: at(k) }} /></span>
      <span class="from-to"><span>{percent(from)}</span><span>100 %</span></span>
    </div>
  );
}

function PerClass({ result }: { result: AuditResult }) {
  const model = useModel();
  useApp((app) => app.state);
  return (
    <section>
      <h2>By class</h2>
      <p class="dim">Classes with at least 10 blind answers; the label counts, not the answer.</p>
      <table>
        <thead>
          <tr><th scope="col">label</th><th scope="col" class="number">right</th><th scope="col" class="number">95 % interval</th></tr>
        </thead>
        <tbody>
          {result.classes.map(({ class: id, k, n, low, high }) => {
            const owner = model.classes.find((c) => c.id === id);
            return (
              <tr key={id ?? -1}>
                <td>{owner ? <span class="row"><Chip of={owner} /> {shown(owner.name)}</span> : "none of these"}</td>
                <td class="number">{count(k)} of {count(n)}</td>
                <td class="number">{percent(low)} to {percent(high)} %</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </section>
  );
}

const percent = (p: number) => (p * 100).toFixed(1);

/** What was answered otherwise: the blind answer is the label now, unless that is changed. */
function MistakeList({ items, closedAt }: { items: readonly Mistake[]; closedAt: number }) {
  const model = useModel();
  useApp((app) => app.state);
  const overlay = useApp((app) => app.overlay);
  const name = (id: number | null) => {
    const owner = model.classes.find((c) => c.id === id);
    return owner ? <span class="row"><Chip of={owner} /> {shown(owner.name)}</span> : <span>none of these</span>;
  };
  const settle = (item: Mistake, to: number | null) => {
    const { picture } = item;
    model.decide([picture], to === null ? { state: "none" } : { class: to }, "review");
  };
  return (
    <section>
      <h2>The mistakes</h2>
      <p class="dim">
        Your blind answer counts in the export. Where the label was right after all, take it back.
      </p>
      <ul class="mistakes" data-testid="audit-mistakes">
        {items.map((item) => {
          const now = overlay.get(item.picture.id);
          const since = item.picture.at !== null && item.picture.at > closedAt;
          const label = now ? now.class : since ? item.picture.class : item.answer;
          return (
            <li key={item.picture.id}>
              <span class="thumb"><Thumbnail of={item.picture} tile={96} /></span>
              <span class="pair">
                <span class="dim">label{item.label_source === "model" ? " by the model" : ""}</span> {name(item.label)}
                <span class="dim">your answer</span> {name(item.answer)}
              </span>
              <span class="row">
                <button
                  type="button" aria-pressed={label === item.answer}
                  onClick={() => settle(item, item.answer)}
                >
                  Answer is right
                </button>
                <button
                  type="button" aria-pressed={label === item.label && label !== item.answer}
                  onClick={() => settle(item, item.label)}
                >
                  Label was right
                </button>
              </span>
            </li>
          );
        })}
      </ul>
    </section>
  );
}
