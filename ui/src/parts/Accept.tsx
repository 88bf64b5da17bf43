import { useEffect, useState } from "preact/hooks";
import { acceptOf, type AcceptSitting } from "../app/accept";
import { useApp, useKeys, useModel } from "../app/context";
import { usePart } from "../app/observable";
import { acceptable, firstCheck, shareOf } from "../logic/checks";
import { shown } from "../logic/names";
import { count } from "../logic/texts";
import { ClassColumn } from "./ClassColumn";
import { Stage, useZoom } from "./Stage";

/** Takes suggestions over in bulk, after a blind check of exactly those. */
export function Accept() {
  const model = useModel();
  const sitting = acceptOf(model);
  const { preview, answers, checked, only, busy, p } = usePart(sitting.state, (all) => all);
  const learned = useApp((app) => app.state?.model_rev ?? 0);
  const reload = useApp((app) => app.reload);
  useApp((app) => app.state?.classes);
  const [typed, setTyped] = useState(String(p));
  const share = shareOf(typed);
  useEffect(() => sitting.begin(), []);
  useEffect(() => {
    // Answers to the sample leave the open ones: the set stays as it was when it was drawn.
    if (sitting.now.answers.length === 0) void sitting.look();
  }, [reload, learned]);
  useEffect(() => {
    if (share === null || share === sitting.now.p) return;
    const timer = setTimeout(() => sitting.choose({ p: share }), 250);
    return () => clearTimeout(timer);
  }, [share]);
  if (learned === 0) return <p>There are no suggestions yet. They come after the first answers.</p>;
  const sample = preview?.sample.length ?? 0;
  const able = checked !== null && checked.k !== null && !busy && preview !== null && preview.n > 0;
  return (
    <section class="accept" aria-label="Accept suggestions">
      <h2>Accept suggestions</h2>
      <p class="sentence">
        Accept suggestions{" "}
        <select
          aria-label="For which class" value={only === null ? "" : String(only)}
          onChange={(e) => sitting.choose({ only: e.currentTarget.value === "" ? null : Number(e.currentTarget.value) })}
        >
          <option value="">for every class</option>
          {model.classes.filter((c) => c.id >= 0).map((c) => <option key={c.id} value={c.id}>for {shown(c.name)}</option>)}
        </select>{" "}
        that are at least{" "}
        <input
          type="text" inputMode="decimal" aria-label="How sure, from 0.5 to 1" value={typed} size={5}
          aria-invalid={share === null} onInput={(event) => setTyped(event.currentTarget.value)}
        />{" "}
        sure: <b data-testid="accept-n">{preview ? acceptable(preview.n) : "..."}</b>.
      </p>
      {share === null && <p class="careful" role="alert">Type a share such as 0.97.</p>}
      {preview !== null && preview.n > 0 && (
        <>
          <p>
            {answers.length === 0
              ? firstCheck(sample)
              : `${count(answers.length)} of ${count(sample)} checked.`}{" "}
            <span class="dim">Drawn at random from these very pictures; the suggestion is not shown.</span>
          </p>
          {checked && (
            <p class="verdict" data-testid="accept-result">
              {checked.text ?? `${count(checked.n)} answers. A percentage needs ${preview.min}.`}
            </p>
          )}
          <div class="row">
            {sitting.sampleLeft > 0 && (
              <button type="button" class={able ? "" : "main"} onClick={() => sitting.ask()}>
                {answers.length === 0 ? "Begin" : "Go on"}
              </button>
            )}
            <button
              type="button" class={able ? "main" : ""} disabled={!able} data-testid="accept-do"
              onClick={() => void sitting.accept()}
            >
              Accept {count(preview.n)}
            </button>
          </div>
          {!able && <p class="dim">The button opens after {preview.min} blind answers.</p>}
          <p class="dim">
            Accepted labels are marked so in the export. One undo takes all of them back.
          </p>
        </>
      )}
      {preview?.n === 0 && <p class="dim">No open picture has a suggestion that is so sure.</p>}
    </section>
  );
}

/** The sample, one by one, as blind as the audit. */
export function AcceptAsking({ sitting }: { sitting: AcceptSitting }) {
  const model = useModel();
  const { preview, answers } = usePart(sitting.state, (all) => all);
  const picture = preview?.sample[answers.length] ?? null;
  const zoom = useZoom(picture);
  useEffect(() => sitting.begin(), []);
  useKeys((meaning) => {
    if ("classId" in meaning) sitting.reply({ class: meaning.classId });
    else if (!("command" in meaning)) return false;
    else if (["unsure", "none", "broken"].includes(meaning.command)) sitting.reply({ state: meaning.command });
    else if (meaning.command === "previous") model.undo();
    else if (meaning.command === "close") sitting.stop();
    else if (["keep", "later", "next"].includes(meaning.command)) return true; // nothing is left out
    else return zoom.command(meaning.command);
    return true;
  });
  const min = preview?.min ?? 0;
  return (
    <div class="queue audit">
      <ClassColumn place="audit" onReply={(given) => sitting.reply(given)} />
      <main class="stage" aria-label="Picture to answer blind">
        <h1 class="said">Check before accepting</h1>
        {picture && (
          <Stage
            picture={picture} zoom={zoom} onGone={async () => false}
            onStep={(by) => by < 0 && model.undo()}
          />
        )}
      </main>
      <aside class="beside" aria-label="Blind check">
        <h2>Blind check</h2>
        <p class="tally" data-testid="accept-at">{count(answers.length)} of {count(preview?.sample.length ?? 0)}</p>
        <progress value={answers.length} max={preview?.sample.length ?? 1} aria-label="Blind answers" />
        <p class="what">Answer as if you saw it for the first time. None is left out: press U where you are unsure.</p>
        <button type="button" onClick={() => sitting.stop()}>Stop here <kbd>Esc</kbd></button>
        {answers.length < min && <p class="what">A percentage needs {min}.</p>}
      </aside>
    </div>
  );
}
