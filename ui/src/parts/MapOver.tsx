import { thumbnail } from "../app/api";
import { useApp, useModel } from "../app/context";
import { OPEN_WORDS, SURE_WORDS, type Chart, type ColourBy } from "../app/map";
import type { Surface } from "../app/surface";
import { LOOK_COLOURS, SLOTS } from "../logic/looks";
import { shown } from "../logic/names";
import { apart } from "../logic/plane";
import { OPEN, PLAIN } from "../logic/raster";
import { STATE_WORDS } from "../logic/texts";
import { Mark } from "./Mark";

const THUMB = 48; // px
const MOST_THUMBS = 400;

const colourOf = (paint: number) => (paint < PLAIN ? LOOK_COLOURS[paint % SLOTS]! : "var(--line)");

/** Pictures in place of points, where they do not hide each other. */
export function MapThumbs({ chart, surface }: { chart: Chart; surface: Surface }) {
  if (!surface.view) return null;
  const free = apart(surface.inView.map((i) => ({ i, ...surface.spotOf(i) })), THUMB + 4);
  return (
    <div class="map-thumbs" aria-hidden="true">
      {free.slice(0, MOST_THUMBS).map(({ i, x, y }) => {
        const id = chart.idOf(i);
        return id && (
          <img
            key={i} src={thumbnail({ id, v: null }, 96)} alt="" width={THUMB} height={THUMB} draggable={false}
            class={chart.mask[i] ? "chosen" : ""}
            style={{ left: `${x - THUMB / 2}px`, top: `${y - THUMB / 2}px`, borderColor: colourOf(chart.paints[i]!) }}
          />
        );
      })}
    </div>
  );
}

export function MapLegend({ by }: { by: ColourBy }) {
  const words = by === "open" ? OPEN_WORDS : by === "sure" ? SURE_WORDS : [[OPEN, "no class yet"] as const];
  return (
    <ul class="map-legend" aria-label="Legend">
      {words.map(([paint, text]) => <li key={text}><Mark paint={paint} /> {text}</li>)}
      {by === "sure" && <li><Mark paint={OPEN} /> answered</li>}
    </ul>
  );
}

/** The picture under the pointer, or in focus, with what is known of it. */
export function MapCard({ chart, point }: { chart: Chart; point: number }) {
  const model = useModel();
  useApp((app) => app.overlay);
  const id = chart.idOf(point);
  const { class: label, state, guess, none, p } = chart.standing(point);
  const owner = model.classes.find((c) => c.id === label);
  const likely = model.classes.find((c) => c.id === guess);
  const suggested = likely ? `${shown(likely.name)}, ${sureWords(p)}` : none ? `none of these, ${sureWords(p)}` : "open";
  const words = owner ? shown(owner.name) : state === "open" ? suggested : STATE_WORDS[state] ?? state;
  return (
    <aside class="map-card" aria-live="polite">
      {id && <img src={thumbnail({ id, v: null }, 192)} alt="" width={160} height={160} draggable={false} />}
      <p>{words}</p>
    </aside>
  );
}

function sureWords(p: number): string {
  return p >= 0.95 ? "very sure" : p >= 0.8 ? "fairly sure" : "guess";
}
