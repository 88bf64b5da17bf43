/** Where the tiles of a virtual grid lie, and which of them are drawn. */

export const TILE_SIZES = [96, 136, 192] as const;
export const GAP = 4;

export interface Shape {
  tile: number; // px, square
  columns: number;
  rows: number;
  height: number; // px of the whole grid
}

export function shapeOf(total: number, width: number, tile: number, caption = 0): Shape {
  const columns = Math.max(1, Math.floor((width + GAP) / (tile + GAP)));
  const rows = Math.ceil(total / columns);
  return { tile, columns, rows, height: Math.max(0, rows * (tile + caption + GAP) - GAP) };
}

export interface Window {
  first: number; // index of the first tile drawn
  last: number; // one past the last
  firstRow: number;
  lastRow: number;
}

const MOST_TILES = 400;

/** The tiles in view with one screen on each side, never more than 400. */
export function windowOf(
  shape: Shape, total: number, scroll: number, view: number, caption = 0,
): Window {
  const pitch = shape.tile + caption + GAP;
  const seenFirst = Math.floor(Math.max(0, scroll) / pitch);
  const seenLast = Math.ceil((Math.max(0, scroll) + view) / pitch);
  const seen = seenLast - seenFirst;
  const spare = Math.max(0, Math.floor(MOST_TILES / shape.columns) - seen);
  const around = Math.min(Math.ceil(view / pitch), Math.floor(spare / 2));
  const firstRow = Math.max(0, Math.min(seenFirst - around, shape.rows));
  const lastRow = Math.min(shape.rows, seenLast + around);
  return {
    first: Math.min(total, firstRow * shape.columns),
    last: Math.min(total, lastRow * shape.columns),
    firstRow,
    lastRow,
  };
}

/** Where a move key leads from a tile; the ends hold. */
export function moved(
  index: number, move: string, total: number, columns: number, rowsInView: number,
): number {
  const key = move.replace("shift+", "");
  const steps: Record<string, number> = {
    left: -1, right: 1, up: -columns, down: columns,
    pageup: -columns * Math.max(1, rowsInView - 1), pagedown: columns * Math.max(1, rowsInView - 1),
  };
  if (total === 0) return 0;
  if (key === "home") return 0;
  if (key === "end") return total - 1;
  const target = index + (steps[key] ?? 0);
  if (key === "up" && target < 0) return index;
  if (key === "down" && target >= total) {
    // From the row above a short last row one lands on its last tile.
    const lastRow = Math.floor((total - 1) / columns);
    return Math.floor(index / columns) < lastRow ? total - 1 : index;
  }
  return Math.min(total - 1, Math.max(0, target));
}

/** How far to scroll so that a tile stands in view; the present place where it does already. */
export function scrollFor(
  index: number, shape: Shape, scroll: number, view: number, caption = 0,
): number {
  const pitch = shape.tile + caption + GAP;
  const top = Math.floor(index / shape.columns) * pitch;
  if (top < scroll) return top;
  if (top + pitch - GAP > scroll + view) return top + pitch - GAP - view;
  return scroll;
}

/** The tiles between two, ends included, for Shift+arrows and Shift+click. */
export function between(a: number, b: number): number[] {
  const [low, high] = a < b ? [a, b] : [b, a];
  return Array.from({ length: high - low + 1 }, (_, i) => low + i);
}
