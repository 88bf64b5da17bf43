import { useEffect, useMemo } from "preact/hooks";
import { full, thumbnail } from "../app/api";
import { useApp, useKeys, useModel } from "../app/context";
import { useFocused } from "../app/focused";
import type { Reply } from "../app/model";
import { shown } from "../logic/names";
import { Preloader } from "../logic/preload";
import { current, lately, type Given } from "../logic/queue";
import { queueEnd, STATE_WORDS } from "../logic/texts";
import { Beside } from "../parts/Beside";
import { Chip } from "../parts/Chip";
import { ClassColumn, keepFocus } from "../parts/ClassColumn";
import { NoPictures } from "../parts/NoPictures";
import { Stage, useZoom } from "../parts/Stage";

const LATELY = 24;

/** One picture, one key, and the next is there. */
export function Queue() {
  const model = useModel();
  const line = useApp((app) => app.line);
  const entry = current(line);
  const hide = useApp((app) => app.settings.hide);
  const look = useApp((app) => app.look);
  const zoom = useZoom(entry);
  const preloader = useMemo(() => new Preloader(), []);
  const reply = (given: Reply) => {
    zoom.reset();
    model.answer(given);
  };

  useEffect(() => {
    preloader.show(line.entries.map((e) => full(e, false, look)), line.at);
  }, [line, look]);

  /** Takes the suggestion that is in view; what is hidden cannot be agreed with. */
  const accept = () => {
    const { sug, blind } = entry ?? {};
    if (!sug || blind || hide) return;
    if (sug.class === null) reply({ state: "none" });
    else if (model.classes.some((c) => c.id === sug.class)) reply({ class: sug.class });
  };

  useFocused(() => (entry && !entry.blind ? { ids: [entry.id], class: entry.answer?.class ?? null } : null));
  useKeys((meaning) => {
    if ("classId" in meaning) {
      reply({ class: meaning.classId });
      return true;
    }
    if (!("command" in meaning)) return false;
    const { command } = meaning;
    if (command === "later" || command === "unsure" || command === "none" || command === "broken") {
      reply({ state: command });
    } else if (command === "clear") {
      if (entry?.answer) reply({ state: "open" });
    } else if (command === "accept") accept();
    else if (command === "hide") model.set({ hide: !hide });
    else if (command === "next") model.step(1);
    else if (command === "previous") model.step(-1);
    else if (command === "undo-answer") model.undo();
    else if (!zoom.command(command)) return false;
    return true;
  });

  return (
    <div class="queue">
      <ClassColumn place="queue" idle={entry === null} onReply={reply} />
      <main class="stage" aria-label="Picture to answer">
        <h1 class="said">Queue</h1>
        {entry ? (
          <Stage
            picture={entry} zoom={zoom} onStep={(by) => model.step(by)}
            onGone={(id) => model.failed(id)}
          >
            {entry.answer && <p class="answer">Your answer: <AnswerName given={entry.answer} /></p>}
          </Stage>
        ) : (
          <End />
        )}
      </main>
      <Beside entry={entry} onAccept={accept} />
      <LastAnswers />
    </div>
  );
}

function AnswerName({ given }: { given: Given }) {
  const model = useModel();
  const owner = model.classes.find((c) => c.id === given.class);
  if (owner) return <><Chip of={owner} /> <span>{shown(owner.name)}</span></>;
  return <span>{given.name ?? STATE_WORDS[given.state ?? ""]}</span>;
}

/** What there is when no picture is left in this queue. */
function End() {
  const model = useModel();
  const served = useApp((app) => app.served);
  const state = useApp((app) => app.state);
  useApp((app) => app.waiting);
  const counts = model.counts;
  if (!state || !counts || !served.over) return <div class="empty" aria-busy="true" />;
  if (counts.pictures === 0 && !state.scanning) return <NoPictures />;
  if (state.scanning) {
    return <div class="empty"><p>More pictures are being read. They come as soon as they are there.</p></div>;
  }
  const { mode } = served;
  if (mode === "later" || mode === "unsure") {
    return (
      <div class="empty">
        <p>{mode === "later" ? "Nothing is left for later." : "No picture is unsure."}</p>
        <a class="button" href="#/queue">Back to the queue</a>
      </div>
    );
  }
  return (
    <div class="empty">
      <p>{queueEnd(counts.later, counts.unsure)}</p>
      <div class="row">
        {counts.later > 0 && <a class="button" href="#/queue?mode=later">Show later</a>}
        {counts.unsure > 0 && <a class="button" href="#/queue?mode=unsure">Show unsure</a>}
        <a class="button" href="#/audit">Check the result (Audit)</a>
        <a class="button" href="#/export">Export</a>
      </div>
    </div>
  );
}

function LastAnswers() {
  const model = useModel();
  const line = useApp((app) => app.line);
  const order = useApp((app) => app.order);
  useApp((app) => app.state);
  const last = lately(line, LATELY, order);
  return (
    <section class="last" aria-label="Last answers">
      <span class="label">last answers</span>
      <ol>
        {last.map((entry) => (
          <li key={entry.id}>
            <button
              type="button" title="Show it again" onMouseDown={keepFocus}
              onClick={() => model.show(entry.id)}
            >
              <img
                src={thumbnail(entry, 96)} alt="" width={24} height={24}
                onError={(event) => event.currentTarget.classList.add("gone")}
              />
              <AnswerName given={entry.answer!} />
            </button>
          </li>
        ))}
      </ol>
      {last.length > 0 && <span class="label">click to change</span>}
    </section>
  );
}
