/**
 * Draws the points of the map into a block of pixels.
 *
 * A point is a stamp: colour and shape by class, hollow or dotted where colours come round
 * again.  Stamps are short lists of places, so that 100,000 of them fit into a frame.
 */

import { LOOKS, SLOTS } from "./looks";
import type { Points, View } from "./plane";

export const SHAPES = ["circle", "square", "triangle", "diamond", "cross", "plus", "star"] as const;
export type Shape = (typeof SHAPES)[number];

/** Paints 0..20 are the looks of classes; then a class without a look, and what has no class. */
export const PLAIN = LOOKS;
export const OPEN = LOOKS + 1;
export const PAINTS = LOOKS + 2;

export interface Palette {
  fill: Uint32Array; // by paint, as a canvas holds a pixel
  edge: Uint32Array; // by paint: the outline of a point where there is room for one
  chosen: number; // around the selected ones
  focus: number; // around the one in focus
}

/** `#rrggbb` as a pixel: bytes red, green, blue, opaque. */
export function pixel(colour: string): number {
  const value = parseInt(colour.replace("#", "").slice(0, 6), 16) || 0;
  const red = (value >> 16) & 255, green = (value >> 8) & 255, blue = value & 255;
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

/** A colour on its way to another: 0 itself, 1 the other. */
export function mixed(a: number, b: number, share: number): number {
  const part = (shift: number) =>
    Math.round(((a >> shift) & 255) * (1 - share) + ((b >> shift) & 255) * share) << shift;
  return ((255 << 24) | part(16) | part(8) | part(0)) >>> 0;
}

/** Whether a place belongs to a shape of radius 1 around the origin. */
function covers(shape: Shape, x: number, y: number): boolean {
  const ax = Math.abs(x), ay = Math.abs(y);
  switch (shape) {
    case "circle": return x * x + y * y <= 1;
    case "square": return Math.max(ax, ay) <= 0.86;
    case "triangle": return y <= 0.8 && y >= -0.9 && ax <= (y + 0.9) * 0.56 + 0.05;
    case "diamond": return ax + ay <= 1.1;
    case "cross": return Math.abs(ax - ay) <= 0.42 && Math.max(ax, ay) <= 0.9;
    case "plus": return Math.min(ax, ay) <= 0.32 && Math.max(ax, ay) <= 1;
    case "star": {
      const turn = (((Math.atan2(y, x) + Math.PI / 2) / (2 * Math.PI / 5)) % 1 + 1) % 1;
      return Math.hypot(x, y) <= 0.5 + 0.6 * Math.abs(turn - 0.5) * 2;
    }
  }
}

export interface Stamp {
  dx: Int8Array;
  dy: Int8Array;
  edge: Uint8Array; // 1 where the place belongs to the outline
  reach: number; // px from the middle to the farthest place
}

/** The places of a paint at a size (px across, odd); small ones are squares without an outline. */
export function stampOf(paint: number, size: number): Stamp {
  const half = (size - 1) / 2;
  const places: [number, number, number][] = [];
  const shape: Shape = paint < LOOKS ? SHAPES[paint % SLOTS]! : paint === PLAIN ? "square" : "circle";
  const weave = paint < LOOKS ? Math.floor(paint / SLOTS) : 0; // 0 full, 1 hollow, 2 with a hole
  const on = (x: number, y: number) =>
    size < 5 ? Math.max(Math.abs(x), Math.abs(y)) <= half : covers(shape, x / (half + 0.35), y / (half + 0.35));
  for (let y = -half; y <= half; y++) {
    for (let x = -half; x <= half; x++) {
      if (!on(x, y)) continue;
      const rim = !(on(x - 1, y) && on(x + 1, y) && on(x, y - 1) && on(x, y + 1));
      const far = Math.max(Math.abs(x), Math.abs(y));
      if (size >= 7 && weave === 1 && !rim && far < half - 1) continue;
      if (size >= 7 && weave === 2 && far <= half * 0.34) continue;
      places.push([x, y, size >= 7 && rim && weave !== 1 ? 1 : 0]);
    }
  }
  return {
    dx: Int8Array.from(places, (p) => p[0]), dy: Int8Array.from(places, (p) => p[1]),
    edge: Uint8Array.from(places, (p) => p[2]), reach: half,
  };
}

/** Points get smaller the more are in view: px across. */
export function sizeFor(inView: number): number {
  if (inView > 30_000) return 3;
  if (inView > 5_000) return 5;
  if (inView > 1_000) return 7;
  return inView > 200 ? 9 : 11;
}

export interface Sheet {
  pixels: Uint32Array;
  width: number;
  height: number;
}

/** How many points lie on the sheet; the scale is px of the sheet for one unit of the map. */
export function countOn(points: Points, view: View, sheet: { width: number; height: number }): number {
  const right = view.x + sheet.width / view.scale, bottom = view.y + sheet.height / view.scale;
  let n = 0;
  for (let i = 0; i < points.n; i++) {
    const x = points.x[i]!, y = points.y[i]!;
    if (x >= view.x && x <= right && y >= view.y && y <= bottom) n++;
  }
  return n;
}

/** Draws all points by paint, the selected ones last and with a ring. */
export function draw(
  sheet: Sheet, points: Points, view: View, paints: Uint8Array, chosen: Uint8Array,
  palette: Palette, size: number, focus = -1,
): void {
  sheet.pixels.fill(0);
  const prints = Array.from({ length: PAINTS }, (_, paint) => print(paint, size, sheet.width));
  stampAll(sheet, points, view, paints, chosen, 0, palette, prints);
  if (chosen.includes(1)) {
    ringAll(sheet, points, view, chosen, palette.chosen, size);
    stampAll(sheet, points, view, paints, chosen, 1, palette, prints);
  }
  if (focus >= 0) {
    const x = Math.round((points.x[focus]! - view.x) * view.scale);
    const y = Math.round((points.y[focus]! - view.y) * view.scale);
    circle(sheet, x, y, size / 2 + 3.5, size / 2 + 6, palette.focus);
  }
}

interface Print {
  fill: Int32Array; // places as distances in the block of pixels
  edge: Int32Array;
  reach: number;
}

function print(paint: number, size: number, width: number): Print {
  const stamp = stampOf(paint, size);
  const places = Array.from(stamp.dx, (dx, i) => stamp.dy[i]! * width + dx);
  return {
    fill: Int32Array.from(places.filter((_, i) => !stamp.edge[i])),
    edge: Int32Array.from(places.filter((_, i) => stamp.edge[i])),
    reach: stamp.reach,
  };
}

function stampAll(
  sheet: Sheet, points: Points, view: View, paints: Uint8Array, chosen: Uint8Array, which: 0 | 1,
  palette: Palette, prints: readonly Print[],
): void {
  const { pixels, width, height } = sheet;
  const { scale } = view;
  if (prints[0]!.reach === 1) return dotAll(sheet, points, view, paints, chosen, which, palette);
  for (let i = 0; i < points.n; i++) {
    if (chosen[i] !== which) continue;
    const x = ((points.x[i]! - view.x) * scale + 0.5) | 0;
    const y = ((points.y[i]! - view.y) * scale + 0.5) | 0;
    const { fill, edge, reach } = prints[paints[i]!]!;
    // Half a point at the rim of the sheet tells nothing: left out.
    if (x < reach || y < reach || x >= width - reach || y >= height - reach) continue;
    const at = y * width + x, colour = palette.fill[paints[i]!]!, rim = palette.edge[paints[i]!]!;
    for (let p = 0; p < fill.length; p++) pixels[at + fill[p]!] = colour;
    for (let p = 0; p < edge.length; p++) pixels[at + edge[p]!] = rim;
  }
}

/** The same for the smallest points, of which there are the most: three by three, no outline. */
function dotAll(
  { pixels, width, height }: Sheet, points: Points, view: View, paints: Uint8Array,
  chosen: Uint8Array, which: 0 | 1, palette: Palette,
): void {
  const { x: left, y: top, scale } = view;
  const { x: xs, y: ys, n } = points;
  const { fill } = palette;
  for (let i = 0; i < n; i++) {
    if (chosen[i] !== which) continue;
    const x = ((xs[i]! - left) * scale + 0.5) | 0;
    const y = ((ys[i]! - top) * scale + 0.5) | 0;
    if (x < 1 || y < 1 || x >= width - 1 || y >= height - 1) continue;
    const colour = fill[paints[i]!]!;
    let at = (y - 1) * width + x - 1;
    pixels[at] = pixels[at + 1] = pixels[at + 2] = colour;
    at += width;
    pixels[at] = pixels[at + 1] = pixels[at + 2] = colour;
    at += width;
    pixels[at] = pixels[at + 1] = pixels[at + 2] = colour;
  }
}

/** What is selected stands on a disc of its own, whatever its colour. */
function ringAll(
  sheet: Sheet, points: Points, view: View, chosen: Uint8Array, colour: number, size: number,
): void {
  const { pixels, width, height } = sheet;
  const around = size / 2 + (size < 7 ? 1 : 1.6), reach = Math.ceil(around);
  const disc: number[] = [];
  for (let dy = -reach; dy <= reach; dy++) {
    for (let dx = -reach; dx <= reach; dx++) {
      if (dx * dx + dy * dy <= around * around) disc.push(dy * width + dx);
    }
  }
  const places = Int32Array.from(disc);
  for (let i = 0; i < points.n; i++) {
    if (!chosen[i]) continue;
    const x = ((points.x[i]! - view.x) * view.scale + 0.5) | 0;
    const y = ((points.y[i]! - view.y) * view.scale + 0.5) | 0;
    if (x < reach || y < reach || x >= width - reach || y >= height - reach) continue;
    const at = y * width + x;
    for (let p = 0; p < places.length; p++) pixels[at + places[p]!] = colour;
  }
}

function circle(
  { pixels, width, height }: Sheet, x: number, y: number, from: number, to: number, colour: number,
): void {
  const reach = Math.ceil(to);
  for (let dy = -reach; dy <= reach; dy++) {
    if (y + dy < 0 || y + dy >= height) continue;
    for (let dx = -reach; dx <= reach; dx++) {
      if (x + dx < 0 || x + dx >= width) continue;
      const far = dx * dx + dy * dy;
      if (far <= to * to && far >= from * from) pixels[(y + dy) * width + x + dx] = colour;
    }
  }
}
