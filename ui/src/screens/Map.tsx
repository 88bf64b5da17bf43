import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Detail, Picture } from "../api.types";
import { api, thumbnail } from "../app/api";
import { useApp, useKeys, useModel } from "../app/context";
import { useFocused } from "../app/focused";
import { chartOf, OPEN_WORDS, paintOf, SURE_WORDS, type Chart, type ColourBy, type Tool } from "../app/map";
import type { Reply, Subject } from "../app/model";
import { usePart } from "../app/observable";
import { chosen as chosenText, sampled } from "../logic/checks";
import { LOOK_COLOURS, SLOTS } from "../logic/looks";
import { shown } from "../logic/names";
import { apart, EXTENT, fitted, onMap, onScreen, panned, toward, zoomed, type Spot, type View } from "../logic/plane";
import { countOn, draw, mixed, OPEN, PAINTS, pixel, PLAIN, sizeFor, type Palette } from "../logic/raster";
import { about, count, MOST_AT_ONCE, STATE_WORDS } from "../logic/texts";
import { ClassColumn } from "../parts/ClassColumn";
import { Large } from "../parts/Large";
import { Mark } from "../parts/Mark";
import { PictureGrid } from "../parts/PictureGrid";

/** All pictures as points, alike ones near each other: a side road to whole regions at once. */
export function Map() {
  const part = useApp((app) => app.address.part);
  const model = useModel();
  const chart = chartOf(model);
  const newest = useApp((app) => app.state?.map_rev ?? 0);
  const learned = useApp((app) => app.state?.model_rev ?? 0);
  const reload = useApp((app) => app.reload);
  const overlay = useApp((app) => app.overlay);
  const classes = useApp((app) => app.state?.classes);
  const { rev, data } = usePart(chart.state, (all) => all);
  useEffect(() => {
    if (rev === 0) void chart.load(newest); // a newer one waits until it is asked for
  }, [newest, rev]);
  useEffect(() => {
    if (rev > 0) void chart.load(rev); // what the points are has changed, where they stand has not
  }, [learned, reload]);
  useEffect(() => chart.paint(), [overlay, classes]);
  if (!data) return <NotYet newest={newest} />;
  return part === "grid" ? <Selected chart={chart} /> : <Plane chart={chart} newest={newest} />;
}

function NotYet({ newest }: { newest: number }) {
  const task = useApp((app) => app.state?.tasks.find((t) => t.name === "map") ?? null);
  const when = task?.eta_s ? `in ${about(task.eta_s * 1000)}` : "in about 2 min";
  return (
    <main class="empty" aria-busy={newest > 0}>
      <h1 class="said">Map</h1>
      {newest === 0 && <p>The map is drawn after the groups, {when}.</p>}
      {newest === 0 && <a class="button" href="#/gallery">Go to the gallery</a>}
    </main>
  );
}

const TOOLS: readonly [Tool, string][] = [["lasso", "lasso"], ["corners", "two corners"], ["move", "move the map"]];
const COLOURS: readonly [ColourBy, string][] = [["class", "class"], ["open", "open or not"], ["sure", "how sure"]];
const NEAR = [1, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000];

function Plane({ chart, newest }: { chart: Chart; newest: number }) {
  const model = useModel();
  const { data, chosen, focus, colourBy, tool, pictures, rev, version } = usePart(chart.state, (all) => all);
  const total = chart.now.data!.total;
  const [near, setNear] = useState(50);
  const [large, setLarge] = useState<Detail | null>(null);
  const [hovered, setHovered] = useState(-1);
  const stage = useRef<StageHandle>(null);
  const n = data!.points.n;

  useFocused(() => {
    const points = chosen > 0 ? chart.points.slice(0, 1000) : focus >= 0 ? [focus] : [];
    return { ids: points.flatMap((i) => chart.idOf(i) ?? []), class: chosen > 0 ? null : focus >= 0 ? chart.standing(focus).class : null };
  });
  const reply = async (given: Reply) => {
    const points = chosen > 0 ? chart.points : focus >= 0 ? [focus] : [];
    if (points.length === 0) return model.tell("Select points first, or go to one with the arrow keys.", "careful");
    const subjects: Subject[] = await chart.subjects(points);
    if (model.decide(subjects, given, "map")) chart.choose([]);
  };
  const focusOn = (point: number) => {
    if (point < 0) return;
    chart.state.set({ focus: point, version: chart.now.version + 1 });
    stage.current?.reveal(point);
  };
  const nearer = (by: 1 | -1) => {
    if (focus < 0) return model.tell("Go to a point with the arrow keys first.", "careful");
    const at = NEAR.findIndex((k) => k >= Math.max(1, chosen));
    const k = NEAR[Math.max(0, Math.min(NEAR.length - 1, (at < 0 ? 0 : at) + (chosen === 0 ? 1 : by)))]!;
    setNear(k);
    chart.near(k);
  };
  const enlarge = async () => {
    const id = focus >= 0 ? chart.idOf(focus) : null;
    if (large) return setLarge(null);
    if (id !== null) setLarge(await api.image(id));
  };
  const open = () => {
    if (chosen === 0) return model.tell("Nothing is selected.", "careful");
    model.visit({ screen: "map", part: "grid" });
  };

  useKeys((meaning) => {
    if ("classId" in meaning) void reply({ class: meaning.classId });
    else if ("move" in meaning) {
      const { move } = meaning;
      if (move === "shift+up" || move === "shift+right") nearer(1);
      else if (move === "shift+down" || move === "shift+left") nearer(-1);
      else if (move === "home") stage.current?.whole();
      else if (["left", "right", "up", "down"].includes(move)) {
        focusOn(focus < 0 ? (stage.current?.middle() ?? -1) : toward(data!.points, focus, move));
      } else return false;
    } else if (meaning.command === "select") chart.toggle(focus);
    else if (meaning.command === "open-grid") open();
    else if (meaning.command === "all") chart.choose(stage.current?.inView() ?? []);
    else if (meaning.command === "larger") stage.current?.zoom(1.5);
    else if (meaning.command === "smaller") stage.current?.zoom(1 / 1.5);
    else if (meaning.command === "large-point") void enlarge();
    else if (meaning.command === "later-selected") void reply({ state: "later" });
    else if (["unsure", "none", "broken"].includes(meaning.command)) void reply({ state: meaning.command });
    else if (meaning.command === "clear") void reply({ state: "open" });
    else if (meaning.command === "close" && large) setLarge(null);
    else if (meaning.command === "close" && (stage.current?.drop() || chosen > 0)) chart.choose(chosen > 0 ? [] : chart.points);
    else return false;
    return true;
  });

  const shownPoint = hovered >= 0 ? hovered : focus;
  return (
    <main class="map">
      <h1 class="said">Map</h1>
      <ClassColumn
        place="map" idle={chosen === 0} onReply={(given) => void reply(given)}
        mark={(c) => colourBy === "class" && <Mark paint={paintOf(c)} />}
      />
      <div class="map-tools filters">
        <fieldset class="radios">
          <legend>select</legend>
          {TOOLS.map(([id, text]) => (
            <label key={id} class="choice">
              <input type="radio" name="tool" checked={tool === id} onChange={() => chart.state.set({ tool: id })} /> {text}
            </label>
          ))}
        </fieldset>
        <fieldset class="radios">
          <legend>colour by</legend>
          {COLOURS.map(([id, text]) => (
            <label key={id} class="choice">
              <input type="radio" name="colour" checked={colourBy === id} onChange={() => chart.colour(id)} /> {text}
            </label>
          ))}
        </fieldset>
        <label class="choice">
          <input type="checkbox" checked={pictures} onChange={() => chart.state.set({ pictures: !pictures })} /> pictures
        </label>
        {newest > rev && (
          <button type="button" class="main push" onClick={() => void chart.load(newest)}>A newer map is ready. Show it</button>
        )}
      </div>
      <MapStage chart={chart} handle={stage} tool={tool} version={version} onHover={setHovered} onPick={(point, more) => {
        focusOn(point);
        chart.choose([point], chart.mask[point] ? "less" : more || chosen > 0 ? "more" : "only");
      }}>
        <Legend by={colourBy} />
        {shownPoint >= 0 && <Card chart={chart} point={shownPoint} />}
        <p class="map-note">
          Near means alike. Distances between far islands mean nothing.
          {n < total && ` ${sampled(total, n)}`}
        </p>
      </MapStage>
      <div class="act map-act">
        <b data-testid="map-chosen">{chosenText(chosen)}</b>
        <button type="button" class={chosen > 0 ? "main" : ""} disabled={chosen === 0} onClick={open}>
          Open as grid <kbd>Enter</kbd>
        </button>
        {chosen > MOST_AT_ONCE
          ? <span class="careful">One answer holds {count(MOST_AT_ONCE)}.</span>
          : chosen > 0 && <span class="dim">A class key labels them.</span>}
        <span class="row push">
          <button type="button" disabled={focus < 0} onClick={() => chart.near(near)}>
            The {count(near)} near the focused point <kbd>Shift+Up</kbd>
          </button>
        </span>
        <span class="row" role="group" aria-label="Zoom">
          <button type="button" aria-label="Farther" onClick={() => stage.current?.zoom(1 / 1.5)}>−</button>
          <button type="button" onClick={() => stage.current?.whole()}>whole map</button>
          <button type="button" aria-label="Nearer" onClick={() => stage.current?.zoom(1.5)}>+</button>
        </span>
      </div>
      {large && (
        <Large
          picture={large.picture} standing={chart.standing(focus)} at={focus} total={n}
          onClose={() => setLarge(null)}
        />
      )}
    </main>
  );
}

// ------------------------------------------------------------------ the drawing

interface StageHandle {
  zoom: (factor: number) => void;
  whole: () => void;
  reveal: (point: number) => void;
  middle: () => number;
  inView: () => number[];
  drop: () => boolean;
}

const MOST_PIXELS = 2_500_000; // of the sheet: more would take longer than a frame
const REACH = 12; // px around the pointer
const CLICK = 4; // px: a hand never stands still

function MapStage({ chart, handle, tool, version, onHover, onPick, children }: {
  chart: Chart;
  handle: { current: StageHandle | null };
  tool: Tool;
  version: number;
  onHover: (point: number) => void;
  onPick: (point: number, more: boolean) => void;
  children: ComponentChildren;
}) {
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const state = useRef<Drawing>({ view: chart.now.view, size: { width: 0, height: 0 }, line: [], corner: null, at: null, hand: null, dirty: false, sheet: null, touches: [] });
  const palette = usePalette();
  const pictures = chart.now.pictures;
  const [rest, setRest] = useState(0); // counts the times that the view has come to rest
  const now = state.current;

  const paint = () => {
    if (now.dirty) return;
    now.dirty = true;
    requestAnimationFrame(() => {
      now.dirty = false;
      if (canvas.current && now.view) render(chart, canvas.current, now, palette);
    });
  };
  const look = (view: View) => {
    now.view = view;
    chart.state.now.view = view; // kept for the next visit, without drawing the page again
    paint();
    clearTimeout(now.resting);
    now.resting = setTimeout(() => setRest((k) => k + 1), 150);
  };
  const whole = () => fitted(now.size.width, now.size.height);
  const centre = (): Spot => ({ x: now.size.width / 2, y: now.size.height / 2 });

  useLayoutEffect(() => {
    const watch = new ResizeObserver(([entry]) => {
      if (!entry) return;
      const { width, height } = entry.contentRect;
      if (width < 1 || height < 1) return;
      const first = now.view === null || now.size.width === 0 && chart.now.view === null;
      now.size = { width, height };
      now.sheet = null;
      look(first ? whole() : now.view!);
    });
    watch.observe(box.current!);
    return () => watch.disconnect();
  }, []);
  useEffect(() => {
    if (chart.now.view === null && now.size.width > 0) look(whole()); // another map
    else paint();
  }, [version, palette, tool]);

  handle.current = {
    zoom: (factor) => {
      const { focus, data } = chart.now;
      const at = focus >= 0 ? onScreen(now.view!, data!.points.x[focus]!, data!.points.y[focus]!) : centre();
      look(zoomed(now.view!, factor, at, whole()));
    },
    whole: () => look(whole()),
    reveal: (point) => {
      const { points } = chart.now.data!;
      const spot = onScreen(now.view!, points.x[point]!, points.y[point]!);
      const out = spot.x < 40 || spot.y < 40 || spot.x > now.size.width - 40 || spot.y > now.size.height - 40;
      const to = centre();
      if (out) look(panned(now.view!, to.x - spot.x, to.y - spot.y, now.size.width, now.size.height));
      else paint();
    },
    middle: () => {
      const to = now.view ? onMap(now.view, now.size.width / 2, now.size.height / 2) : { x: EXTENT / 2, y: EXTENT / 2 };
      return chart.squares?.near(to.x, to.y, 1)[0] ?? -1;
    },
    inView: () => visible(chart, now).slice(0, MOST_AT_ONCE),
    drop: () => {
      const had = now.corner !== null || now.line.length > 0;
      now.corner = null;
      now.line = [];
      paint();
      return had;
    },
  };

  const place = (event: PointerEvent | WheelEvent): Spot => {
    const { left, top } = canvas.current!.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  };
  const under = (at: Spot) => {
    const spot = onMap(now.view!, at.x, at.y);
    return chart.squares?.under(spot.x, spot.y, REACH / now.view!.scale) ?? -1;
  };
  const onPointerDown = (event: PointerEvent) => {
    if (!now.view) return;
    const at = place(event);
    now.touches = [...now.touches.filter((t) => t.id !== event.pointerId), { id: event.pointerId, at }];
    canvas.current!.setPointerCapture(event.pointerId);
    if (now.touches.length > 1) {
      now.line = [];
      now.hand = null;
      return;
    }
    now.pressed = at;
    if (tool === "move" || event.button !== 0) now.hand = at;
    else if (tool === "lasso") now.line = [at];
  };
  const onPointerMove = (event: PointerEvent) => {
    if (!now.view) return;
    const at = place(event);
    const before = now.touches.find((t) => t.id === event.pointerId)?.at ?? null;
    if (now.touches.length > 1 && before) return pinch(event.pointerId, at);
    now.touches = now.touches.map((t) => (t.id === event.pointerId ? { ...t, at } : t));
    if (now.hand) {
      const from = now.hand;
      now.hand = at;
      return look(panned(now.view, at.x - from.x, at.y - from.y, now.size.width, now.size.height));
    }
    if (now.line.length > 0) {
      now.line.push(at);
      return paint();
    }
    now.at = at;
    if (now.corner) paint();
    onHover(under(at));
  };
  const pinch = (id: number, at: Spot) => {
    const [a, b] = now.touches;
    if (!a || !b) return;
    const gap = (p: Spot, q: Spot) => Math.max(1, Math.hypot(p.x - q.x, p.y - q.y));
    const mid = (p: Spot, q: Spot) => ({ x: (p.x + q.x) / 2, y: (p.y + q.y) / 2 });
    const next = now.touches.map((t) => (t.id === id ? { ...t, at } : t));
    const was = mid(a.at, b.at), is = mid(next[0]!.at, next[1]!.at);
    const moved = panned(now.view!, is.x - was.x, is.y - was.y, now.size.width, now.size.height);
    const factor = gap(next[0]!.at, next[1]!.at) / gap(a.at, b.at);
    now.touches = next;
    look(zoomed(moved, factor, is, whole()));
  };
  const onPointerUp = (event: PointerEvent) => {
    const at = place(event);
    const many = now.touches.length > 1;
    now.touches = now.touches.filter((t) => t.id !== event.pointerId);
    if (!now.view || many) return;
    const pressed = now.pressed ?? at;
    const click = Math.hypot(at.x - pressed.x, at.y - pressed.y) < CLICK && event.button === 0;
    const line = now.line;
    now.line = [];
    now.hand = null;
    if (tool === "corners" && event.button === 0) corner(at, event.shiftKey);
    else if (click) {
      const point = under(at);
      if (point >= 0) onPick(point, event.shiftKey);
    } else if (line.length > 2) chart.around(line.map((p) => onMap(now.view!, p.x, p.y)), event.shiftKey);
    paint();
  };
  const corner = (at: Spot, more: boolean) => {
    const here = onMap(now.view!, at.x, at.y);
    if (!now.corner) {
      now.corner = here;
      return;
    }
    chart.between(now.corner, here, more);
    now.corner = null;
  };
  const onWheel = (event: WheelEvent) => {
    event.preventDefault();
    if (now.view) look(zoomed(now.view, Math.exp(-event.deltaY * 0.0015), place(event), whole()));
  };
  useEffect(() => {
    const element = canvas.current!;
    element.addEventListener("wheel", onWheel, { passive: false });
    return () => element.removeEventListener("wheel", onWheel);
  });

  return (
    <div
      class={`map-stage tool-${tool}`} ref={box} role="application" tabIndex={0}
      aria-label="Map of the pictures. Arrow keys go from point to point, Space selects, Shift with Up selects more of those near, Enter opens the selected as a grid."
    >
      <canvas
        ref={canvas} data-testid="map" onPointerDown={onPointerDown} onPointerMove={onPointerMove}
        onPointerUp={onPointerUp} onPointerCancel={onPointerUp} onPointerLeave={() => onHover(-1)}
        onContextMenu={(event) => event.preventDefault()}
      />
      {pictures && <Thumbs chart={chart} now={now} key={rest} />}
      {children}
    </div>
  );
}

interface Drawing {
  view: View | null;
  size: { width: number; height: number };
  line: Spot[]; // px, while the lasso is drawn
  corner: Spot | null; // on the map: the first of two
  at: Spot | null; // px, the pointer
  hand: Spot | null; // px, while the map is moved
  pressed?: Spot;
  touches: { id: number; at: Spot }[];
  dirty: boolean;
  sheet: { image: ImageData; pixels: Uint32Array; width: number; height: number; ratio: number } | null;
  resting?: ReturnType<typeof setTimeout>;
}

function render(chart: Chart, canvas: HTMLCanvasElement, now: Drawing, palette: Palette): void {
  const begun = performance.now();
  const context = canvas.getContext("2d")!;
  const { width, height } = now.size;
  if (!now.sheet) {
    const ratio = Math.min(globalThis.devicePixelRatio || 1, Math.sqrt(MOST_PIXELS / (width * height)));
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const image = context.createImageData(canvas.width, canvas.height);
    now.sheet = { image, pixels: new Uint32Array(image.data.buffer), width: canvas.width, height: canvas.height, ratio };
  }
  const { sheet } = now;
  const { data, focus } = chart.now;
  const view = { ...now.view!, scale: now.view!.scale * sheet.ratio };
  const size = odd(sizeFor(countOn(data!.points, view, sheet)) * Math.max(1, sheet.ratio));
  draw(sheet, data!.points, view, chart.paints, chart.mask, palette, size, focus);
  context.putImageData(sheet.image, 0, 0);
  strokes(context, now, sheet.ratio, palette);
  performance.measure("map", { start: begun });
}

const OUTLINE = 0.45; // of the way to the colour of text: yellow shows on white, blue on black
const odd = (n: number) => 2 * Math.floor(n / 2) + 1;

/** The lasso on its way, or the rectangle between the first corner and the pointer. */
function strokes(context: CanvasRenderingContext2D, now: Drawing, ratio: number, palette: Palette): void {
  context.strokeStyle = `rgb(${palette.focus & 255} ${(palette.focus >> 8) & 255} ${(palette.focus >> 16) & 255})`;
  context.lineWidth = 2 * ratio;
  context.setLineDash([6 * ratio, 4 * ratio]);
  if (now.line.length > 1) {
    context.beginPath();
    for (const { x, y } of now.line) context.lineTo(x * ratio, y * ratio);
    context.closePath();
    context.stroke();
  }
  if (now.corner) {
    const a = onScreen(now.view!, now.corner.x, now.corner.y), b = now.at ?? a;
    context.strokeRect(a.x * ratio, a.y * ratio, (b.x - a.x) * ratio, (b.y - a.y) * ratio);
    context.strokeRect(a.x * ratio - 3, a.y * ratio - 3, 6, 6);
  }
}

function visible(chart: Chart, now: Drawing): number[] {
  const { points } = chart.now.data!;
  const a = onMap(now.view!, 0, 0), b = onMap(now.view!, now.size.width, now.size.height);
  const found: number[] = [];
  for (let i = 0; i < points.n; i++) {
    const x = points.x[i]!, y = points.y[i]!;
    if (x >= a.x && x <= b.x && y >= a.y && y <= b.y) found.push(i);
  }
  return found;
}

/** Colours of the theme in force, as pixels; taken anew when it changes. */
function usePalette(): Palette {
  const theme = useApp((app) => app.settings.theme);
  const [dark, setDark] = useState(() => matchMedia("(prefers-color-scheme: dark)").matches);
  useEffect(() => {
    const query = matchMedia("(prefers-color-scheme: dark)");
    const change = () => setDark(query.matches);
    query.addEventListener("change", change);
    return () => query.removeEventListener("change", change);
  }, []);
  const key = `${theme} ${dark}`;
  const held = useRef<{ key: string; palette: Palette } | null>(null);
  if (held.current?.key !== key) {
    const style = getComputedStyle(document.documentElement);
    const token = (name: string) => pixel(style.getPropertyValue(name).trim());
    const fill = new Uint32Array(PAINTS);
    for (let paint = 0; paint < PAINTS; paint++) {
      fill[paint] = paint === OPEN ? token("--line") : paint === PLAIN ? token("--text-2") : pixel(LOOK_COLOURS[paint % SLOTS]!);
    }
    held.current = {
      key, palette: { fill, edge: fill.map((colour) => mixed(colour, token("--text"), OUTLINE)), chosen: token("--text"), focus: token("--accent") },
    };
  }
  return held.current.palette;
}

// ------------------------------------------------------------------ what lies over it

const THUMB = 48; // px
const MOST_THUMBS = 400;

const colourOf = (paint: number) => (paint < PLAIN ? LOOK_COLOURS[paint % SLOTS]! : "var(--line)");

/** Pictures in place of points, where they do not hide each other. */
function Thumbs({ chart, now }: { chart: Chart; now: Drawing }) {
  if (!now.view) return null;
  const { points } = chart.now.data!;
  const shown = apart(visible(chart, now).map((i) => ({ i, ...onScreen(now.view!, points.x[i]!, points.y[i]!) })), THUMB + 4);
  return (
    <div class="map-thumbs" aria-hidden="true">
      {shown.slice(0, MOST_THUMBS).map(({ i, x, y }) => {
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

function Legend({ by }: { by: ColourBy }) {
  const words = by === "open" ? OPEN_WORDS : by === "sure" ? SURE_WORDS : [[OPEN, "no class yet"] as const];
  return (
    <ul class="map-legend" aria-label="Legend">
      {words.map(([paint, text]) => <li key={text}><Mark paint={paint} /> {text}</li>)}
      {by === "sure" && <li><Mark paint={OPEN} /> answered</li>}
    </ul>
  );
}

/** The picture under the pointer, or in focus, with what is known of it. */
function Card({ chart, point }: { chart: Chart; point: number }) {
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

// ------------------------------------------------------------------ the selection as a grid

function Selected({ chart }: { chart: Chart }) {
  const model = useModel();
  const [items, setItems] = useState<readonly Picture[] | null>(null);
  const { chosen } = usePart(chart.state, (all) => all);
  useEffect(() => {
    const points = chart.points;
    void chart.subjects(points).then((subjects) => setItems(subjects.map((s, i) => tileOf(s, i))));
  }, []);
  const back = () => model.visit({ screen: "map" });
  return (
    <PictureGrid
      title="Selected on the map" from="map" of="map" items={items ?? []} total={items?.length ?? 0}
      until={async () => undefined} onClose={back}
      top={
        <div class="filters">
          <button type="button" onClick={back}>Back to the map <kbd>Esc</kbd></button>
          <b>{chosenText(chosen)} on the map</b>
        </div>
      }
      empty={items?.length === 0 ? <div class="empty"><p>Nothing is selected.</p></div> : null}
    />
  );
}

function tileOf(subject: Subject, index: number): Picture {
  return {
    id: subject.id, v: null, w: null, h: null, name: `picture ${index + 1}`, presence: "here",
    state: (subject.state ?? "open") as Picture["state"], class: subject.class ?? null,
    source: null, person: "", at: null, sug: null, stack: 1,
  };
}
