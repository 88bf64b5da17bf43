import { useEffect, useMemo } from "preact/hooks";
import { full, thumbnail } from "../app/api";
import { useApp, useKeys, useModel } from "../app/context";
import type { Reply } from "../app/model";
import { shown } from "../logic/names";
import { Preloader } from "../logic/preload";
import { current, lately, type Entry, type Given } from "../logic/queue";
import { count, queueEnd, STATE_WORDS } from "../logic/texts";
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
  const zoom = useZoom(entry?.id);
  const preloader = useMemo(() => new Preloader(), []);
  const reply = (given: Reply) => {
    zoom.reset();
    model.answer(given);
  };

  useEffect(() => {
    preloader.show(line.entries.map((e) => full(e)), line.at);
  }, [line]);

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
    } else if (command === "next") model.step(1);
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
      <Beside entry={entry} />
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

function Beside({ entry }: { entry: Entry | null }) {
  const model = useModel();
  const mode = useApp((app) => app.address.mode);
  const counts = useApp((app) => app.state?.counts);
  if (mode !== "random") {
    return (
      <aside class="beside" aria-label="About this queue">
        <h2>{mode === "later" ? "Left for later" : "Unsure"}</h2>
        <p class="what">
          {mode === "later"
            ? "You put these aside. Any answer takes one off the pile."
            : "You were unsure about these. Any answer takes one off the pile."}
        </p>
        <button type="button" onClick={() => model.visit({ screen: "queue" })}>
          Back to the open ones
        </button>
      </aside>
    );
  }
  return (
    <aside class="beside" aria-label="About this picture">
      <h2>First look</h2>
      <p class="what">No suggestions yet. These pictures are random.</p>
      {entry?.answer && <p class="what">Any other answer replaces the one you gave.</p>}
      {counts && counts.later + counts.unsure > 0 && <hr />}
      {counts && counts.later > 0 && (
        <a href="#/queue?mode=later">{count(counts.later)} left for later</a>
      )}
      {counts && counts.unsure > 0 && (
        <a href="#/queue?mode=unsure">{count(counts.unsure)} unsure</a>
      )}
    </aside>
  );
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
  if (mode !== "random") {
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
        <a class="button" href="#/pictures">Look at all pictures</a>
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
