/**
 * How a group is laid out: typical tiles left, the least typical ones right, so that both ends
 * are on the screen at once.  Tiles shrink from the size wished for until a whole page of them
 * fits; where there is more room, more of the group is shown.
 */

import { GAP, TILE_SIZES } from "./grid";

export const TYPICAL = 24;
export const EDGE = 12;
export const RULE = 24; // px between the two ends
const WIDE = 1500; // px: from here a page shows 60 tiles and more
const MANY = 60;
const SMALLEST = 60; // px: below that a picture tells nothing, and the page scrolls
const MOST = 160;

export interface Sheet {
  tile: number;
  rows: number;
  typicalColumns: number;
  edgeColumns: number;
  typical: number; // how many are shown of either end
  edge: number;
}

/** The layout of `n` pictures in a box; `wish` is a tile size, the largest is kept and scrolls. */
export function sheetOf(n: number, width: number, height: number, wish: number): Sheet {
  const edge = Math.min(EDGE, Math.floor(n / 3));
  const least = Math.min(width >= WIDE ? MANY - edge : TYPICAL, n - edge);
  const fixed = wish >= TILE_SIZES.at(-1)!;
  for (let tile = wish; tile >= (fixed ? wish : SMALLEST); tile--) {
    const rows = Math.max(1, fitting(height, tile));
    const edgeColumns = Math.ceil(edge / rows);
    const columns = fitting(width - (edge ? RULE - GAP : 0), tile) - edgeColumns;
    if (columns >= 1 && columns * rows >= least) {
      const typical = Math.min(n - edge, columns * rows, MOST - edge);
      return flat({ tile, rows, typicalColumns: columns, edgeColumns, typical, edge }, columns + edgeColumns);
    }
  }
  return scrolling(n, edge, width, fixed ? wish : SMALLEST);
}

/** A small group lies in as few rows as the width allows: windows are wide, and so are eyes. */
function flat(sheet: Sheet, columns: number): Sheet {
  const { typical, edge } = sheet;
  for (let rows = 1; ; rows++) {
    const typicalColumns = Math.max(1, Math.ceil(typical / rows)), edgeColumns = Math.ceil(edge / rows);
    if (rows >= sheet.rows || typicalColumns + edgeColumns <= columns) {
      return { ...sheet, rows, typicalColumns, edgeColumns };
    }
  }
}

function fitting(pixels: number, tile: number): number {
  return Math.floor((pixels + GAP) / (tile + GAP));
}

function scrolling(n: number, edge: number, width: number, tile: number): Sheet {
  const all = Math.max(edge ? 2 : 1, fitting(width - (edge ? RULE - GAP : 0), tile));
  const edgeColumns = edge ? Math.max(1, Math.round(all / 3)) : 0;
  const typicalColumns = all - edgeColumns;
  const rows = Math.max(
    Math.ceil(Math.min(TYPICAL, n - edge) / typicalColumns), edge ? Math.ceil(edge / edgeColumns) : 0,
  );
  const typical = Math.min(n - edge, typicalColumns * rows);
  return { tile, rows, typicalColumns, edgeColumns, typical, edge };
}

/** All tiles in one block, as large as the room allows. */
export function evenly(n: number, width: number, height: number): Sheet {
  let tile: number = TILE_SIZES.at(-1)!;
  while (tile > SMALLEST && fitting(width, tile) * fitting(height, tile) < n) tile--;
  const typicalColumns = Math.max(1, Math.min(n, fitting(width, tile)));
  const rows = Math.ceil(n / typicalColumns);
  return { tile, rows, typicalColumns, edgeColumns: 0, typical: n, edge: 0 };
}

export interface Slot {
  row: number;
  column: number;
  edge: boolean;
  index: number; // within its end
}

/** The places of all tiles, row by row: the order in which readers and Tab meet them. */
export function slotsOf(sheet: Sheet): Slot[] {
  const slots: Slot[] = [];
  for (let row = 0; row < sheet.rows; row++) {
    for (const edge of [false, true]) {
      const columns = edge ? sheet.edgeColumns : sheet.typicalColumns;
      const total = edge ? sheet.edge : sheet.typical;
      for (let i = 0; i < columns; i++) {
        const index = row * columns + i;
        if (index < total) slots.push({ row, column: i + (edge ? sheet.typicalColumns : 0), edge, index });
      }
    }
  }
  return slots;
}

/** Where a move key leads from a slot; the ends hold. */
export function movedOn(slots: readonly Slot[], at: number, move: string): number {
  const key = move.replace("shift+", "");
  const from = slots[at];
  if (!from) return 0;
  if (key === "left") return Math.max(0, at - 1);
  if (key === "right") return Math.min(slots.length - 1, at + 1);
  if (key === "home") return 0;
  if (key === "end") return slots.length - 1;
  const down = key === "down" || key === "pagedown";
  const rows = slots.map((slot) => slot.row).filter((row) => (down ? row > from.row : row < from.row));
  if (rows.length === 0) return at;
  const far = key.startsWith("page");
  const row = (down !== far ? Math.min : Math.max)(...rows);
  // The nearest column there, of the same end where it has one.
  const cost = (slot: Slot) => Math.abs(slot.column - from.column) + (slot.edge === from.edge ? 0 : 0.5);
  let best = -1;
  slots.forEach((slot, i) => {
    if (slot.row === row && (best < 0 || cost(slot) < cost(slots[best]!))) best = i;
  });
  return best;
}
