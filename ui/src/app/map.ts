/** The map as this page knows it: points, what each is, which are selected, where one looks. */

import type { ClassInfo } from "../api.types";
import {
  decoded, NO_CLASS, NONE_OF_THESE, POINT_STATES, revOf, type MapData,
} from "../logic/points";
import { boxed, enclosed, Squares, type Spot, type View } from "../logic/plane";
import { OPEN, PLAIN } from "../logic/raster";
import { LOOKS } from "../logic/looks";
import type { Standing } from "../logic/overlay";
import { checks, complaint } from "./api";
import type { Model, Subject } from "./model";
import { Observable } from "./observable";

export type ColourBy = "class" | "open" | "sure";
export type Tool = "lasso" | "corners" | "move";

export interface Charted {
  rev: number;
  data: MapData | null;
  loading: boolean;
  version: number; // counts up when points must be drawn anew
  chosen: number; // how many are selected
  focus: number; // point in focus, -1 none
  colourBy: ColourBy;
  tool: Tool;
  pictures: boolean; // pictures instead of points where there is room
  view: View | null;
}

export class Chart {
  readonly state = new Observable<Charted>({
    rev: 0, data: null, loading: false, version: 0, chosen: 0, focus: -1, colourBy: "class",
    tool: "lasso", pictures: false, view: null,
  });
  squares: Squares | null = null;
  mask = new Uint8Array();
  paints = new Uint8Array();
  private ids: string[] = [];
  private places: Map<string, number> | null = null;
  private whole: Promise<void> = Promise.resolve();

  constructor(private readonly model: Model) {}

  get now(): Charted {
    return this.state.now;
  }

  /** Loads a map; of the one at hand only what its points are is taken anew. */
  async load(rev: number): Promise<void> {
    if (rev === 0 || this.now.loading) return;
    this.state.set({ loading: true });
    try {
      let known = rev === this.now.rev ? this.now.data : null;
      let buffer = await checks.map(rev, known ? "labels" : null);
      if (known && revOf(buffer) !== known.rev) { // only the last two maps are kept
        known = null;
        buffer = await checks.map(revOf(buffer), null);
      }
      const data = decoded(buffer, known);
      if (data.points !== known?.points) {
        this.squares = new Squares(data.points);
        this.mask = new Uint8Array(data.points.n);
        this.ids = [];
        this.places = null;
        this.state.set({ view: null, focus: -1, chosen: 0 });
        this.whole = this.loadIds(data.rev, data.points.n);
      }
      this.state.set({ rev: data.rev, data, loading: false });
      this.paint();
    } catch (error) {
      this.state.set({ loading: false });
      this.model.tell(complaint(error), "careful");
    }
  }

  private async loadIds(rev: number, n: number): Promise<void> {
    const ids: string[] = [];
    this.ids = ids;
    while (ids.length < n && this.ids === ids) {
      const chunk = await checks.mapIds(ids.length, rev);
      if (chunk.ids.length === 0) break;
      for (const id of chunk.ids) ids.push(id);
    }
    this.state.set({ version: this.now.version + 1 }); // what is shown of points can be drawn now
  }

  /** The picture at a point, as soon as it is known. */
  idOf(point: number): string | null {
    return this.ids[point] ?? null;
  }

  // ---------------------------------------------------------------- what a point is

  /** What was answered here, else what the server has said; `guess`: a class id, or none. */
  standing(point: number): Standing & { guess: number | null; none: boolean; p: number } {
    const data = this.now.data!;
    const id = this.idOf(point);
    const mine = id === null ? undefined : this.model.now.overlay.get(id);
    const state = POINT_STATES[data.state[point]!] ?? "open";
    const found = data.class[point]!;
    const guess = isOpen(state) && found < NONE_OF_THESE ? found : null;
    const rest = { guess, none: isOpen(state) && found === NONE_OF_THESE, p: data.sure[point]! / 255 };
    if (mine) return { ...mine, ...rest };
    return { state, class: isOpen(state) || found >= NONE_OF_THESE ? null : found, source: null, ...rest };
  }

  /** Gives every point its paint: by class, by whether it was answered, by how sure. */
  paint(): void {
    const { data, colourBy } = this.now;
    if (!data) return;
    const looks = new Uint8Array(256).fill(PLAIN);
    for (const c of this.model.classes) if (c.id >= 0 && c.id < NONE_OF_THESE) looks[c.id] = paintOf(c);
    looks[NONE_OF_THESE] = looks[NO_CLASS] = OPEN;
    const { n } = data.points;
    if (this.paints.length !== n) this.paints = new Uint8Array(n);
    const own = this.answeredHere();
    for (let i = 0; i < n; i++) {
      const mine = own.size > 0 ? own.get(i) : undefined;
      const open = mine ? isOpen(mine.state) : OPEN_POINT[data.state[i]!] === 1;
      if (colourBy === "class") this.paints[i] = looks[mine ? (mine.class ?? NO_CLASS) : data.class[i]!]!;
      else if (colourBy === "open") this.paints[i] = open ? ORANGE : BLUE;
      else this.paints[i] = open ? SURE[sureness(data.sure[i]! / 255)]! : OPEN;
    }
    this.state.set({ version: this.now.version + 1 });
  }

  private answeredHere(): Map<number, Standing> {
    const found = new Map<number, Standing>();
    if (this.model.now.overlay.size === 0) return found;
    if (this.places === null || this.places.size < this.ids.length) {
      this.places = new Map(this.ids.map((id, i) => [id, i] as const));
    }
    for (const [id, standing] of this.model.now.overlay) {
      const place = this.places.get(id);
      if (place !== undefined) found.set(place, standing);
    }
    return found;
  }

  colour(by: ColourBy): void {
    this.state.set({ colourBy: by });
    this.paint();
  }

  // ---------------------------------------------------------------- selecting

  /** Takes points into the selection, or makes them the selection. */
  choose(points: readonly number[], how: "only" | "more" | "less" = "only"): void {
    if (how === "only") this.mask.fill(0);
    // What is not in the folder any more stands where it stood, but nothing can be said of it.
    const gone = this.now.data!.state;
    for (const i of points) this.mask[i] = how === "less" || gone[i] === GONE ? 0 : 1;
    const chosen = this.mask.reduce((n, one) => n + one, 0);
    this.state.set({ chosen, version: this.now.version + 1 });
    this.model.app.set({ said: `${chosen.toLocaleString("en")} selected` });
  }

  around(line: readonly Spot[], more: boolean): void {
    if (this.now.data) this.choose(enclosed(this.now.data.points, line), more ? "more" : "only");
  }

  between(a: Spot, b: Spot, more: boolean): void {
    if (this.now.data) this.choose(boxed(this.now.data.points, a, b), more ? "more" : "only");
  }

  /** The `k` points nearest to the one in focus, itself included. */
  near(k: number): void {
    const { data, focus } = this.now;
    if (!data || focus < 0) return;
    this.choose(this.squares!.near(data.points.x[focus]!, data.points.y[focus]!, k));
  }

  toggle(point: number): void {
    if (point >= 0) this.choose([point], this.mask[point] ? "less" : "more");
  }

  get points(): number[] {
    const found: number[] = [];
    for (let i = 0; i < this.mask.length; i++) if (this.mask[i]) found.push(i);
    return found;
  }

  /** The selected pictures with what is known of them; waits for their names on the first call. */
  async subjects(points: readonly number[]): Promise<Subject[]> {
    await this.whole;
    return points.flatMap((i) => {
      const id = this.idOf(i);
      const { state, class: label, source } = this.standing(i);
      return id === null ? [] : [{ id, state, class: label, source: source ?? null }];
    });
  }
}

const isOpen = (state: string) => state === "open" || state === "later" || state === "gone";
const GONE = POINT_STATES.indexOf("gone");
const OPEN_POINT = Uint8Array.from(POINT_STATES, (state) => Number(isOpen(state)));

// Looks that stand for no class here: blue and orange are told apart by everybody.
const BLUE = 0;
const ORANGE = 1;
const SURE = [5, 1, 4, 0] as const; // guess, fairly, very sure, certain: red, orange, sky, blue

function sureness(p: number): 0 | 1 | 2 | 3 {
  if (p >= 0.99) return 3;
  if (p >= 0.95) return 2;
  return p >= 0.8 ? 1 : 0;
}

export const SURE_WORDS: readonly [paint: number, text: string][] = [
  [SURE[3], "99 % and more"], [SURE[2], "very sure"], [SURE[1], "fairly sure"], [SURE[0], "guess"],
];
export const OPEN_WORDS: readonly [paint: number, text: string][] = [
  [BLUE, "answered"], [ORANGE, "open"],
];

export function paintOf(of: Pick<ClassInfo, "look">): number {
  return of.look >= 0 && of.look < LOOKS ? of.look : PLAIN;
}

const charts = new WeakMap<Model, Chart>();

export function chartOf(model: Model): Chart {
  const known = charts.get(model) ?? new Chart(model);
  charts.set(model, known);
  return known;
}
