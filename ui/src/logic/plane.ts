/**
 * Points of the map: where they stand on the screen, which lie inside a line, which are near.
 *
 *     screen = (map - origin) * scale, map coordinates 0..65535 in both directions
 */

export const EXTENT = 65535;

export interface Points {
  n: number;
  x: Uint16Array;
  y: Uint16Array;
}

export interface View {
  x: number; // map coordinates of the upper left corner
  y: number;
  scale: number; // px for one unit of the map
}

export interface Spot {
  x: number;
  y: number;
}

export function onScreen(view: View, x: number, y: number): Spot {
  return { x: (x - view.x) * view.scale, y: (y - view.y) * view.scale };
}

export function onMap(view: View, x: number, y: number): Spot {
  return { x: x / view.scale + view.x, y: y / view.scale + view.y };
}

/** The whole map, with a margin, in the middle. */
export function fitted(width: number, height: number, margin = 24): View {
  const scale = Math.max(1, Math.min(width, height) - 2 * margin) / EXTENT;
  return {
    scale, x: EXTENT / 2 - width / scale / 2, y: EXTENT / 2 - height / scale / 2,
  };
}

const CLOSEST = 400; // times the whole map

/** Nearer or farther with what lies under `at` (px) staying there. */
export function zoomed(view: View, factor: number, at: Spot, whole: View): View {
  const scale = Math.min(whole.scale * CLOSEST, Math.max(whole.scale * 0.5, view.scale * factor));
  const held = onMap(view, at.x, at.y);
  return { scale, x: held.x - at.x / scale, y: held.y - at.y / scale };
}

/** Moves by px, never so far that the map is lost. */
export function panned(view: View, dx: number, dy: number, width: number, height: number): View {
  const hold = (from: number, view: number) => Math.min(EXTENT - view * 0.1, Math.max(-view * 0.9, from));
  return {
    ...view,
    x: hold(view.x - dx / view.scale, width / view.scale),
    y: hold(view.y - dy / view.scale, height / view.scale),
  };
}

/** Even-odd rule; a point on the left or upper edge is inside, on the right or lower is not. */
export function inside(x: number, y: number, polygon: readonly Spot[]): boolean {
  let within = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const a = polygon[i]!, b = polygon[j]!;
    if (a.y > y !== b.y > y && x < ((b.x - a.x) * (y - a.y)) / (b.y - a.y) + a.x) within = !within;
  }
  return within;
}

/** The points inside a closed line; both in map coordinates. */
export function enclosed(points: Points, polygon: readonly Spot[]): number[] {
  if (polygon.length < 3) return [];
  const xs = polygon.map((p) => p.x), ys = polygon.map((p) => p.y);
  const left = least(xs), right = most(xs), top = least(ys), bottom = most(ys);
  const found: number[] = [];
  for (let i = 0; i < points.n; i++) {
    const x = points.x[i]!, y = points.y[i]!;
    if (x < left || x > right || y < top || y > bottom) continue;
    if (inside(x, y, polygon)) found.push(i);
  }
  return found;
}

/** The points between two corners, edges included. */
export function boxed(points: Points, a: Spot, b: Spot): number[] {
  const left = Math.min(a.x, b.x), right = Math.max(a.x, b.x);
  const top = Math.min(a.y, b.y), bottom = Math.max(a.y, b.y);
  const found: number[] = [];
  for (let i = 0; i < points.n; i++) {
    const x = points.x[i]!, y = points.y[i]!;
    if (x >= left && x <= right && y >= top && y <= bottom) found.push(i);
  }
  return found;
}

const least = (numbers: readonly number[]) => numbers.reduce((a, b) => Math.min(a, b));
const most = (numbers: readonly number[]) => numbers.reduce((a, b) => Math.max(a, b));

/** Points by square of the map, so that what is near one is found without looking at all. */
export class Squares {
  private readonly side: number;
  private readonly starts: Uint32Array;
  private readonly members: Uint32Array;

  constructor(private readonly points: Points) {
    this.side = Math.max(1, Math.min(256, Math.round(Math.sqrt(points.n / 4))));
    const count = this.side * this.side;
    this.starts = new Uint32Array(count + 1);
    for (let i = 0; i < points.n; i++) this.starts[this.squareOf(points.x[i]!, points.y[i]!) + 1]! += 1;
    for (let s = 0; s < count; s++) this.starts[s + 1]! += this.starts[s]!;
    this.members = new Uint32Array(points.n);
    const next = this.starts.slice();
    for (let i = 0; i < points.n; i++) {
      const square = this.squareOf(points.x[i]!, points.y[i]!);
      this.members[next[square]!] = i;
      next[square]! += 1;
    }
  }

  private along(value: number): number {
    return Math.max(0, Math.min(this.side - 1, Math.floor((value * this.side) / (EXTENT + 1))));
  }

  private squareOf(x: number, y: number): number {
    return this.along(y) * this.side + this.along(x);
  }

  /** The point under the pointer: the nearest, `reach` (map units) away at most; -1: none. */
  under(x: number, y: number, reach: number): number {
    let best = -1, away = reach * reach;
    const [left, right] = [this.along(x - reach), this.along(x + reach)];
    for (let row = this.along(y - reach); row <= this.along(y + reach); row++) {
      for (let column = left; column <= right; column++) {
        this.each(row * this.side + column, (i, far) => {
          if (far < away || (far === away && best < 0)) [best, away] = [i, far];
        }, x, y);
      }
    }
    return best;
  }

  /** The `k` points nearest to a place, nearest first; of equally far ones the earlier. */
  near(x: number, y: number, k: number): number[] {
    const wanted = Math.min(k, this.points.n);
    const cell = (EXTENT + 1) / this.side;
    const [column, row] = [this.along(x), this.along(y)];
    const found: { i: number; far: number }[] = [];
    for (let ring = 0; ring <= this.side; ring++) {
      this.around(row, column, ring, (square) =>
        this.each(square, (i, far) => found.push({ i, far }), x, y));
      // Whatever lies outside this ring is at least `sure` away.
      const sure = ring * cell + Math.min(
        x - column * cell, (column + 1) * cell - x, y - row * cell, (row + 1) * cell - y,
      );
      if (sure < 0) continue;
      if (found.filter(({ far }) => far <= sure * sure).length >= wanted) break;
    }
    found.sort((a, b) => a.far - b.far || a.i - b.i);
    return found.slice(0, wanted).map(({ i }) => i);
  }

  private around(row: number, column: number, ring: number, visit: (square: number) => void): void {
    for (let r = row - ring; r <= row + ring; r++) {
      if (r < 0 || r >= this.side) continue;
      const edge = Math.abs(r - row) === ring;
      const step = edge || ring === 0 ? 1 : 2 * ring;
      for (let c = column - ring; c <= column + ring; c += step) {
        if (c >= 0 && c < this.side) visit(r * this.side + c);
      }
    }
  }

  private each(square: number, visit: (i: number, far: number) => void, x: number, y: number): void {
    for (let m = this.starts[square]!; m < this.starts[square + 1]!; m++) {
      const i = this.members[m]!;
      const dx = this.points.x[i]! - x, dy = this.points.y[i]! - y;
      visit(i, dx * dx + dy * dy);
    }
  }
}

const WAYS: Record<string, readonly [number, number]> = {
  left: [-1, 0], right: [1, 0], up: [0, -1], down: [0, 1],
};

/** Where an arrow key leads from a point: the nearest one in that quarter; itself where none is. */
export function toward(points: Points, from: number, way: string): number {
  const [ux, uy] = WAYS[way] ?? [0, 0];
  let best = from, least = Infinity;
  for (let i = 0; i < points.n; i++) {
    const dx = points.x[i]! - points.x[from]!, dy = points.y[i]! - points.y[from]!;
    const ahead = dx * ux + dy * uy, aside = Math.abs(dx * uy) + Math.abs(dy * ux);
    if (ahead <= 0 || aside > ahead) continue;
    const far = ahead * ahead + 4 * aside * aside; // straight on is nearer than askew
    if (far < least) [best, least] = [i, far];
  }
  return best;
}

/** Spots of which no two are nearer than `side` in both directions; the earlier ones stay. */
export function apart<S extends Spot>(spots: readonly S[], side: number): S[] {
  const held = new Map<string, S>();
  const kept: S[] = [];
  for (const spot of spots) {
    const column = Math.floor(spot.x / side), row = Math.floor(spot.y / side);
    let free = true;
    for (let r = row - 1; free && r <= row + 1; r++) {
      for (let c = column - 1; free && c <= column + 1; c++) {
        const other = held.get(`${c} ${r}`);
        free = !other || Math.abs(other.x - spot.x) >= side || Math.abs(other.y - spot.y) >= side;
      }
    }
    if (!free) continue;
    held.set(`${column} ${row}`, spot);
    kept.push(spot);
  }
  return kept;
}
