import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { full, thumbnail } from "../app/api";
import { useApp, useKeys, useModel } from "../app/context";
import type { Reply } from "../app/model";
import { nameOf } from "../logic/keys";
import { shown } from "../logic/names";
import { Preloader } from "../logic/preload";
import { current, lately, type Entry, type Given } from "../logic/queue";
import { count, queueEnd, STATE_WORDS } from "../logic/texts";
import { Chip } from "../parts/Chip";
import { ClassColumn, keepFocus } from "../parts/ClassColumn";
import { NoPictures } from "../parts/NoPictures";

const LATELY = 24;
const SMALL = 160; // px: pictures under this are enlarged with their pixels kept sharp
const ENLARGED = 6; // times: a larger picture of few pixels only makes the eyes travel
const AT_LEAST = 320; // px: but never smaller than this where there is room
const STEPS = [1, 1.5, 2, 3, 4, 6, 8];

/** One picture, one key, and the next is there. */
export function Queue() {
  const model = useModel();
  const line = useApp((app) => app.line);
  const entry = current(line);
  const [zoom, setZoom] = useState(0);
  const preloader = useMemo(() => new Preloader(), []);
  const reply = (given: Reply) => {
    setZoom(0);
    model.answer(given);
  };

  useEffect(() => {
    preloader.show(line.entries.map((e) => full(e)), line.at);
  }, [line]);
  useEffect(() => setZoom(0), [entry?.id]);

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
    else if (command === "zoom") setZoom((z) => (z ? 0 : 3));
    else if (command === "larger") setZoom((z) => Math.min(STEPS.length - 1, z + 1));
    else if (command === "smaller") setZoom((z) => Math.max(0, z - 1));
    else return false;
    return true;
  });

  return (
    <div class="queue">
      <ClassColumn place="queue" idle={entry === null} onReply={reply} />
      <main class="stage" aria-label="Picture to answer">
        <h1 class="said">Queue</h1>
        {entry ? <Stage entry={entry} zoom={STEPS[zoom]!} setZoom={setZoom} /> : <End />}
      </main>
      <Beside entry={entry} />
      <LastAnswers />
    </div>
  );
}

function Stage({ entry, zoom, setZoom }: {
  entry: Entry;
  zoom: number;
  setZoom: (change: (zoom: number) => number) => void;
}) {
  const model = useModel();
  const frame = useRef<HTMLDivElement>(null);
  const [fault, setFault] = useState<string | null>(null);
  const [box, setBox] = useState({ width: 0, height: 0 });
  useEffect(() => {
    const watch = new ResizeObserver(([at]) => at && setBox({
      width: at.contentRect.width, height: at.contentRect.height,
    }));
    watch.observe(frame.current!);
    return () => watch.disconnect();
  }, []);
  useEffect(() => setFault(null), [entry.id]);
  useEffect(() => {
    const view = frame.current!; // the middle stays in the middle
    view.scrollTo((view.scrollWidth - view.clientWidth) / 2, (view.scrollHeight - view.clientHeight) / 2);
  }, [zoom, entry.id]);

  const w = entry.w ?? 1, h = entry.h ?? 1;
  const room = Math.min(box.width / w, box.height / h);
  const fit = Math.min(room, Math.max(ENLARGED, AT_LEAST / Math.max(w, h)));
  const known = entry.w !== null && box.width > 0;
  const size = known ? { width: `${w * fit * zoom}px`, height: `${h * fit * zoom}px` } : {};
  const small = Math.max(w, h) <= SMALL;
  return (
    <>
      <div class={`picture ${zoom * fit > room ? "zoomed" : ""}`} ref={frame} tabIndex={zoom * fit > room ? 0 : -1}>
        {entry.answer && (
          <p class="answer">Your answer: <AnswerName given={entry.answer} /></p>
        )}
        {fault === entry.id ? (
          <p class="fault">
            This picture cannot be shown. If it stays so, answer "broken" (I); Problems says why.
          </p>
        ) : (
          <img
            key={entry.id} src={full(entry, zoom > 2)} alt="The picture to answer" style={size}
            class={small ? "small" : ""} decoding="sync" draggable={false}
            data-testid="picture" data-image={entry.id}
            onError={() => void model.failed(entry.id).then((gone) => !gone && setFault(entry.id))}
          />
        )}
      </div>
      <div class="tools">
        <button type="button" onMouseDown={keepFocus} onClick={() => model.step(-1)}>
          <kbd>{nameOf("left")}</kbd> previous
        </button>
        <button type="button" onMouseDown={keepFocus} onClick={() => model.step(1)}>
          next <kbd>{nameOf("right")}</kbd>
        </button>
        <span class="place">{entry.w && entry.h ? `${count(entry.w)} × ${count(entry.h)} pixels` : ""}</span>
        <span class="row" role="group" aria-label="Zoom">
          <button
            type="button" aria-label="Smaller" disabled={zoom === 1} onMouseDown={keepFocus}
            onClick={() => setZoom((z) => Math.max(0, z - 1))}
          >
            −
          </button>
          <span>{zoom === 1 ? "fits" : `${zoom} ×`}</span>
          <button
            type="button" aria-label="Larger" disabled={zoom === STEPS.at(-1)}
            onMouseDown={keepFocus} onClick={() => setZoom((z) => Math.min(STEPS.length - 1, z + 1))}
          >
            +
          </button>
        </span>
      </div>
    </>
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
