import { useState } from "preact/hooks";
import type { ClassInfo, Seen } from "../api.types";
import { useApp, useKeys, useModel } from "../app/context";
import { focused, MOST_PINNED, pin } from "../app/focused";
import { Observable, usePart } from "../app/observable";
import { shown } from "../logic/names";
import { Chip } from "./Chip";
import { keepFocus } from "./ClassColumn";
import { Thumbnail } from "./Tile";

const open = new Observable<{ is: boolean }>({ is: false });
const hasGuide = (c: ClassInfo) => c.guide.text !== "" || c.guide.examples.length + c.guide.nots.length > 0;

/**
 * What the classes mean, beside the picture: by G.  `blind`: this picture is in no guide.
 * `floating`: over a grid or the map, and only while it is open.
 */
export function GuideBox({ about, blind, floating }: {
  about?: number | null; blind?: string | null; floating?: boolean;
}) {
  const model = useModel();
  useApp((app) => app.state?.classes);
  const { is } = usePart(open, (all) => all);
  const [chosen, setChosen] = useState<number | null>(null);
  useKeys((meaning) => {
    if (!("command" in meaning) || meaning.command !== "guide") return false;
    open.set({ is: !open.now.is });
    return true;
  });
  const classes = model.classes.filter((c) => c.id >= 0);
  const of = classes.find((c) => c.id === (chosen ?? about)) ?? classes.find(hasGuide) ?? classes[0];
  const title = blind === undefined && of ? `Guide: ${shown(of.name)}` : "Class guide";
  if (floating && !is) return null;
  return (
    <section class={`guide ${floating ? "floating" : ""}`} aria-label="Class guide">
      <button
        type="button" class="quiet" aria-expanded={is} onMouseDown={keepFocus}
        onClick={() => open.set({ is: !is })}
      >
        {title} <kbd>G</kbd>
      </button>
      {is && !of && <p class="what">No classes yet.</p>}
      {is && blind !== undefined && classes.filter(hasGuide).map((c) => <Entry key={c.id} of={c} without={blind} />)}
      {is && blind !== undefined && !classes.some(hasGuide) && <p class="what">No class has a guide yet. Write one in Classes.</p>}
      {is && blind === undefined && of && (
        <>
          {classes.length > 1 && (
            <select aria-label="Guide of" value={String(of.id)} onChange={(e) => setChosen(Number(e.currentTarget.value))}>
              {classes.map((c) => <option key={c.id} value={c.id}>{shown(c.name)}</option>)}
            </select>
          )}
          <Entry of={of} without={null} />
          <PinButtons of={of} />
        </>
      )}
    </section>
  );
}

function Entry({ of, without }: { of: ClassInfo; without: string | null }) {
  const seen = (pictures: readonly Seen[]) => pictures.filter((p) => p.id !== without);
  const { text } = of.guide, examples = seen(of.guide.examples), nots = seen(of.guide.nots);
  return (
    <div class="guide-entry">
      <p class="row"><Chip of={of} /> <b>{shown(of.name)}</b></p>
      {text && <p>{shown(text)}</p>}
      {examples.length > 0 && <Pinned pictures={examples} />}
      {nots.length > 0 && <><p class="what">Not this:</p><Pinned pictures={nots} /></>}
      {!hasGuide(of) && <p class="what">Nothing written or pinned yet. Up to {MOST_PINNED} pictures.</p>}
    </div>
  );
}

export function Pinned({ pictures }: { pictures: readonly Seen[] }) {
  return (
    <div class="pinned">
      {pictures.map((p) => <span key={p.id} class="thumb"><Thumbnail of={p} tile={40} /></span>)}
    </div>
  );
}

function PinButtons({ of }: { of: ClassInfo }) {
  const model = useModel();
  const put = (as: "examples" | "nots") => {
    const found = focused();
    if (found) void pin(model, of.id, found.ids, as);
    else model.tell("No picture is in focus.", "careful");
  };
  return (
    <div class="row">
      <button type="button" onMouseDown={keepFocus} onClick={() => put("examples")}>Pin this one</button>
      <button type="button" onMouseDown={keepFocus} onClick={() => put("nots")}>Pin as not this</button>
    </div>
  );
}
