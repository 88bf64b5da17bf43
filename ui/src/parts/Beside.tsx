import { useState } from "preact/hooks";
import type { Seen } from "../api.types";
import { api } from "../app/api";
import { useApp, useModel } from "../app/context";
import { keyOf } from "../logic/keys";
import { shown } from "../logic/names";
import type { Entry } from "../logic/queue";
import { count, FIRST_LOOK } from "../logic/texts";
import { keepFocus } from "./ClassColumn";
import { GuideBox } from "./Guide";
import { LikelyName, useNameOf } from "./Likely";
import { Thumbnail } from "./Tile";

const TILE = 58;

/** What stands beside the picture of the queue: what is suggested, why, and what it looks like. */
export function Beside({ entry, onAccept }: { entry: Entry | null; onAccept: () => void }) {
  const mode = useApp((app) => app.address.mode);
  if (mode === "later" || mode === "unsure") return <Pile mode={mode} />;
  return (
    <aside class="beside" aria-label="About this picture">
      {entry?.blind ? <FirstLook /> : entry && <Suggestion key={entry.id} entry={entry} onAccept={onAccept} />}
      {entry?.answer && <p class="what">Any other answer replaces the one you gave.</p>}
      {entry && <hr />}
      {entry && (entry.blind ? <GuideBox blind={entry.id} /> : <GuideBox about={entry.sug?.class ?? null} />)}
      <Piles />
    </aside>
  );
}

function FirstLook() {
  return (
    <>
      <h2>First look</h2>
      <p class="what" data-testid="first-look">{FIRST_LOOK}</p>
    </>
  );
}

function Suggestion({ entry, onAccept }: { entry: Entry; onAccept: () => void }) {
  const model = useModel();
  const hide = useApp((app) => app.settings.hide);
  const first = useApp((app) => app.state?.model_rev === 0);
  useApp((app) => app.state?.classes);
  const nameOf = useNameOf();
  const { bindings } = model.now.settings;
  const sug = entry.sug ?? null;
  const name = nameOf(sug);
  const second = entry.next === undefined || entry.next === null
    ? null : nameOf({ class: entry.next < 0 ? null : entry.next });
  const known = sug !== null && name !== null;
  const likes = entry.likes ?? [];
  return (
    <>
      <h2>Suggestion</h2>
      {hide ? (
        <p class="what">Hidden.</p>
      ) : known ? (
        <div class="suggestion" data-testid="suggestion" data-class={sug.class ?? -1}>
          <p class="what-it-says"><LikelyName of={sug} words="comma" /></p>
          <button type="button" class="main" onMouseDown={keepFocus} onClick={onAccept}>
            Accept <kbd>{keyOf("accept", bindings)}</kbd>
          </button>
          {second !== null && <p class="what">next: {shown(second)}</p>}
        </div>
      ) : (
        <p class="what">{first ? "No suggestions yet." : "None for this picture."}</p>
      )}
      {(hide || known) && (
        <button type="button" class="quiet" onMouseDown={keepFocus} onClick={() => model.set({ hide: !hide })}>
          {hide ? "Show suggestions" : "Hide"} <kbd>{keyOf("hide", bindings)}</kbd>
        </button>
      )}
      {!hide && likes.length > 0 && (
        <>
          <hr />
          <h2>Looks like</h2>
          <ul class="likes">
            {likes.map((like) => <li key={like.id}><Like of={like} /></li>)}
          </ul>
        </>
      )}
      {(entry.why || (entry.stack ?? 1) > 1) && <hr />}
      {(entry.stack ?? 1) > 1 && <Stack of={entry} />}
      {entry.why && (
        <>
          <h2>Why this one?</h2>
          <p class="what">{entry.why}</p>
        </>
      )}
    </>
  );
}

/** The near-duplicates that the answer goes to, and the way to ask each by itself. */
function Stack({ of }: { of: Entry }) {
  const model = useModel();
  const [members, setMembers] = useState<readonly Seen[] | null>(null);
  const [apart, setApart] = useState(false);
  const others = of.stack! - 1;
  if (apart) return <p class="what">Each of them is asked by itself.</p>;
  const open = () => {
    api.image(of.id).then((detail) => setMembers(detail.stack), (error) => model.refuse(error));
  };
  const part = () => {
    const images = members!.map((picture) => picture.id);
    model.submit({ body: { kind: "stack_broken", images }, text: `a stack of ${images.length} taken apart` });
    setApart(true);
  };
  return (
    <>
      <p class="what">
        The answer goes to {others === 1 ? "1 near-duplicate" : `${count(others)} near-duplicates`}, too.
      </p>
      {members === null ? (
        <button type="button" onMouseDown={keepFocus} onClick={open}>Show the {count(of.stack!)}</button>
      ) : (
        <>
          <ul class="likes">
            {members.map((picture) => (
              <li key={picture.id}><span class="like-tile"><Thumbnail of={picture} tile={TILE} /></span></li>
            ))}
          </ul>
          <button type="button" disabled={members.length < 2} onMouseDown={keepFocus} onClick={part}>They differ: ask each</button>
        </>
      )}
    </>
  );
}

function Like({ of }: { of: NonNullable<Entry["likes"]>[number] }) {
  const nameOf = useNameOf();
  const name = nameOf({ class: of.class });
  return (
    <figure class="like">
      <span class="like-tile"><Thumbnail of={of} tile={TILE} /></span>
      <figcaption title={shown(name ?? "")}>{shown(name ?? "")}</figcaption>
    </figure>
  );
}

/** The ways to what was put off. */
function Piles() {
  const counts = useApp((app) => app.state?.counts);
  if (!counts || counts.later + counts.unsure === 0) return null;
  return (
    <>
      <hr />
      {counts.later > 0 && <a href="#/queue?mode=later">{count(counts.later)} left for later</a>}
      {counts.unsure > 0 && <a href="#/queue?mode=unsure">{count(counts.unsure)} unsure</a>}
    </>
  );
}

function Pile({ mode }: { mode: "later" | "unsure" }) {
  const model = useModel();
  return (
    <aside class="beside" aria-label="About this queue">
      <h2>{mode === "later" ? "Left for later" : "Unsure"}</h2>
      <p class="what">
        {mode === "later"
          ? "You put these aside. Any answer takes one off the pile."
          : "You were unsure about these. Any answer takes one off the pile."}
      </p>
      <button type="button" onClick={() => model.visit({ screen: "queue" })}>Back to the open ones</button>
    </aside>
  );
}
