/** The map on the screen: where one looks, what the hand does, and when it is drawn anew. */

import { boxed, fitted, onMap, onScreen, panned, zoomed, type Spot, type View } from "../logic/plane";
import { countOn, draw, sizeFor, type Palette, type Sheet } from "../logic/raster";
import type { Chart, Tool } from "./map";

const MOST_PIXELS = 2_500_000; // of the sheet: more would take longer than a frame
const REACH = 12; // px around the pointer
const CLICK = 4; // px: a hand never stands still
const RIM = 40; // px: what comes into focus nearer to the rim is brought to the middle
const REST = 150; // ms without a move
const FRAMES = 600; // whose times are kept

export interface Hears {
  hover: (point: number) => void;
  pick: (point: number, more: boolean) => void;
  rest: () => void; // the view has come to rest
}

interface Touch {
  id: number;
  at: Spot;
}

export class Surface {
  canvas: HTMLCanvasElement | null = null;
  palette: Palette | null = null;
  tool: Tool = "lasso";
  view: View | null;
  size = { width: 0, height: 0 };
  private sheet: (Sheet & { image: ImageData; ratio: number }) | null = null;
  private line: Spot[] = []; // px, while the lasso is drawn
  private corner: Spot | null = null; // on the map: the first of two
  private at: Spot | null = null; // px, the pointer
  private hand: Spot | null = null; // px, while the map is moved
  private pressed: Spot | null = null;
  private touches: Touch[] = [];
  private frames = 0;
  private asked = false; // a frame is on its way
  private resting: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly chart: Chart, private readonly hears: () => Hears) {
    this.view = chart.now.view;
  }

  // ---------------------------------------------------------------- where one looks

  resized(width: number, height: number): void {
    if (width < 1 || height < 1) return;
    this.size = { width, height };
    this.sheet = null;
    if (this.chart.now.view === null) this.showWhole();
    else this.look(this.view!);
  }

  look(view: View): void {
    this.view = view;
    this.chart.state.now.view = view; // for the next visit; nothing else is drawn for it
    this.drawn();
  }

  private drawn(): void {
    this.paint();
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.hears().rest(), REST);
  }

  /** Another map, or the same with other points selected. */
  renewed(): void {
    if (this.chart.now.view === null && this.size.width > 0) this.showWhole();
    else this.paint();
  }

  private get whole(): View {
    return fitted(this.size.width, this.size.height);
  }

  private get centre(): Spot {
    return { x: this.size.width / 2, y: this.size.height / 2 };
  }

  /** And the whole it stays when the window changes, until somebody looks elsewhere. */
  showWhole(): void {
    this.view = this.whole;
    this.chart.state.now.view = null;
    this.drawn();
  }

  /** Around the point in focus, else around the middle. */
  zoom(factor: number): void {
    if (!this.view) return;
    const { focus } = this.chart.now;
    this.look(zoomed(this.view, factor, focus >= 0 ? this.spotOf(focus) : this.centre, this.whole));
  }

  reveal(point: number): void {
    const { x, y } = this.spotOf(point), { width, height } = this.size;
    const out = x < RIM || y < RIM || x > width - RIM || y > height - RIM;
    if (out) this.look(panned(this.view!, width / 2 - x, height / 2 - y, width, height));
    else this.paint();
  }

  spotOf(point: number): Spot {
    const { points } = this.chart.now.data!;
    return onScreen(this.view!, points.x[point]!, points.y[point]!);
  }

  /** The point nearest to the middle of what is in view. */
  get middle(): number {
    if (!this.view) return -1;
    const { x, y } = onMap(this.view, this.centre.x, this.centre.y);
    return this.chart.squares?.near(x, y, 1)[0] ?? -1;
  }

  get inView(): number[] {
    if (!this.view) return [];
    const { width, height } = this.size;
    return boxed(this.chart.now.data!.points, onMap(this.view, 0, 0), onMap(this.view, width, height));
  }

  // ---------------------------------------------------------------- the hand

  private place(event: PointerEvent | WheelEvent): Spot {
    const { left, top } = this.canvas!.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  }

  private under(at: Spot): number {
    const { x, y } = onMap(this.view!, at.x, at.y);
    return this.chart.squares?.under(x, y, REACH / this.view!.scale) ?? -1;
  }

  down(event: PointerEvent): void {
    if (!this.view) return;
    const at = this.place(event);
    this.touches = [...this.touches.filter((t) => t.id !== event.pointerId), { id: event.pointerId, at }];
    this.canvas!.setPointerCapture(event.pointerId);
    this.pressed = at;
    this.line = [];
    this.hand = null;
    if (this.touches.length > 1) return; // two fingers move and zoom
    if (this.tool === "move" || event.button !== 0) this.hand = at;
    else if (this.tool === "lasso") this.line = [at];
  }

  move(event: PointerEvent): void {
    if (!this.view) return;
    const at = this.place(event);
    if (this.touches.length > 1) return this.pinch(event.pointerId, at);
    if (this.hand) {
      const from = this.hand;
      this.hand = at;
      return this.look(panned(this.view, at.x - from.x, at.y - from.y, this.size.width, this.size.height));
    }
    if (this.line.length > 0) {
      this.line.push(at);
      return this.paint();
    }
    this.at = at;
    if (this.corner) this.paint();
    this.hears().hover(this.under(at));
  }

  private pinch(id: number, at: Spot): void {
    const [a, b] = this.touches;
    if (!a || !b || !this.touches.some((t) => t.id === id)) return;
    const apart = (p: Spot, q: Spot) => Math.max(1, Math.hypot(p.x - q.x, p.y - q.y));
    const between = (p: Spot, q: Spot) => ({ x: (p.x + q.x) / 2, y: (p.y + q.y) / 2 });
    const next = this.touches.map((t) => (t.id === id ? { ...t, at } : t));
    const [c, d] = [next[0]!.at, next[1]!.at];
    const was = between(a.at, b.at), is = between(c, d);
    const moved = panned(this.view!, is.x - was.x, is.y - was.y, this.size.width, this.size.height);
    this.touches = next;
    this.look(zoomed(moved, apart(c, d) / apart(a.at, b.at), is, this.whole));
  }

  up(event: PointerEvent): void {
    const at = this.place(event);
    const many = this.touches.length > 1;
    this.touches = this.touches.filter((t) => t.id !== event.pointerId);
    const { line, pressed } = this;
    this.line = [];
    this.hand = null;
    if (!this.view || many || !pressed) return;
    const click = Math.hypot(at.x - pressed.x, at.y - pressed.y) < CLICK && event.button === 0;
    if (this.tool === "corners" && event.button === 0) this.cornerAt(at, event.shiftKey);
    else if (click) {
      const point = this.under(at);
      if (point >= 0) this.hears().pick(point, event.shiftKey);
    } else if (line.length > 2) {
      this.chart.around(line.map((p) => onMap(this.view!, p.x, p.y)), event.shiftKey);
    }
    this.paint();
  }

  private cornerAt(at: Spot, more: boolean): void {
    const here = onMap(this.view!, at.x, at.y);
    if (this.corner) this.chart.between(this.corner, here, more);
    this.corner = this.corner ? null : here;
  }

  wheel(event: WheelEvent): void {
    event.preventDefault();
    if (!this.view) return;
    this.look(zoomed(this.view, Math.exp(-event.deltaY * 0.0015), this.place(event), this.whole));
  }

  /** Lets go of a line or corner that was begun; whether there was one. */
  drop(): boolean {
    const had = this.corner !== null || this.line.length > 0;
    this.corner = null;
    this.line = [];
    this.paint();
    return had;
  }

  // ---------------------------------------------------------------- drawing

  /** At the next frame, once. */
  paint(): void {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      if (this.canvas && this.view && this.palette && this.chart.now.data) this.render();
    });
  }

  private render(): void {
    const start = performance.now();
    const context = this.canvas!.getContext("2d")!;
    const sheet = this.sheet ??= this.sheetFor(context);
    const { data, focus } = this.chart.now;
    const view = { ...this.view!, scale: this.view!.scale * sheet.ratio };
    const size = odd(sizeFor(countOn(data!.points, view, sheet)) * Math.max(1, sheet.ratio));
    draw(sheet, data!.points, view, this.chart.paints, this.chart.mask, this.palette!, size, focus);
    context.putImageData(sheet.image, 0, 0);
    this.stroke(context, sheet.ratio);
    if (++this.frames % FRAMES === 0) performance.clearMeasures("map"); // they are kept for good
    performance.measure("map", { start });
  }

  private sheetFor(context: CanvasRenderingContext2D): Sheet & { image: ImageData; ratio: number } {
    const { width, height } = this.size;
    const ratio = Math.min(globalThis.devicePixelRatio || 1, Math.sqrt(MOST_PIXELS / (width * height)));
    const canvas = this.canvas!;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const image = context.createImageData(canvas.width, canvas.height);
    return {
      image, ratio, width: canvas.width, height: canvas.height,
      pixels: new Uint32Array(image.data.buffer),
    };
  }

  /** The lasso on its way, or the rectangle between the first corner and the pointer. */
  private stroke(context: CanvasRenderingContext2D, ratio: number): void {
    const colour = this.palette!.focus;
    context.strokeStyle = `rgb(${colour & 255} ${(colour >> 8) & 255} ${(colour >> 16) & 255})`;
    context.lineWidth = 2 * ratio;
    context.setLineDash([6 * ratio, 4 * ratio]);
    if (this.line.length > 1) {
      context.beginPath();
      for (const { x, y } of this.line) context.lineTo(x * ratio, y * ratio);
      context.closePath();
      context.stroke();
    }
    if (this.corner) {
      const a = onScreen(this.view!, this.corner.x, this.corner.y), b = this.at ?? a;
      context.strokeRect(a.x * ratio, a.y * ratio, (b.x - a.x) * ratio, (b.y - a.y) * ratio);
      context.strokeRect(a.x * ratio - 3, a.y * ratio - 3, 6, 6);
    }
  }
}

const odd = (n: number) => 2 * Math.floor(n / 2) + 1;
