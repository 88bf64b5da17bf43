import { useEffect, useRef } from "preact/hooks";
import type { Picture } from "../api.types";
import { GAP } from "../logic/grid";
import { shown } from "../logic/names";
import { RULE, type Sheet, type Slot } from "../logic/sheet";
import { Thumbnail } from "./Tile";

export interface Spot {
  id: string;
  slot: Slot;
  picture: Picture | null; // what is known of it beyond its id
}

/** The tiles of a group: the typical ones left, the least typical right, one tab stop. */
export function GroupSheet({ spots, sheet, at, out, label, plain, byKeys, onToggle, onPress }: {
  spots: readonly Spot[];
  sheet: Sheet;
  at: number;
  out: ReadonlySet<string>;
  label: string;
  plain?: boolean; // tiles of one kind: no ends to name
  byKeys: () => boolean; // whether the focus goes along
  onToggle: (index: number) => void;
  onPress: (spot: Spot) => void;
}) {
  const grid = useRef<HTMLDivElement>(null);
  const first = spots[0]?.id;
  useEffect(() => {
    // Readers hear the tile; the view scrolls only where the page has more tiles than room.
    if (byKeys() || grid.current?.contains(document.activeElement)) {
      grid.current?.querySelector<HTMLElement>(`[data-index="${at}"]`)?.focus();
    }
  }, [at, first]);
  const rows = Array.from({ length: sheet.rows }, (_, row) =>
    spots.map((spot, index) => ({ spot, index })).filter(({ spot }) => spot.slot.row === row),
  ).filter((row) => row.length > 0);
  const pitch = sheet.tile + GAP;
  const left = sheet.typicalColumns * pitch;
  const width = left + (sheet.edge ? sheet.edgeColumns * pitch + RULE - GAP : 0) - GAP;
  const typicalWidth = left - GAP;
  return (
    <div class="sheet-ground">
      <div class="ends" aria-hidden="true" style={{ width: `${width}px` }}>
        {!plain && <span style={{ width: `${typicalWidth}px` }}>typical</span>}
        {sheet.edge > 0 && <span class="least">least typical</span>}
      </div>
      <div
        ref={grid} class="spots" role="grid" aria-label={label} aria-multiselectable="true"
        aria-rowcount={rows.length}
        style={{ width: `${width}px`, height: `${rows.length * pitch - GAP}px` }}
      >
        {sheet.edge > 0 && <i class="rule" style={{ left: `${typicalWidth + RULE / 2 - 1}px` }} role="presentation" />}
        {rows.map((row, i) => (
          <div key={i} role="row" aria-rowindex={i + 1}>
            {row.map(({ spot, index }) => (
              <Cell
                key={spot.id} spot={spot} index={index} total={spots.length} tile={sheet.tile}
                x={spot.slot.column * pitch + (spot.slot.edge ? RULE - GAP : 0)} y={spot.slot.row * pitch}
                at={index === at} out={out.has(spot.id)} onToggle={onToggle} onPress={onPress}
              />
            ))}
          </div>
        ))}
      </div>
    </div>
  );
}

function Cell({ spot, index, total, tile, x, y, at, out, onToggle, onPress }: {
  spot: Spot;
  index: number;
  total: number;
  tile: number;
  x: number;
  y: number;
  at: boolean;
  out: boolean;
  onToggle: (index: number) => void;
  onPress: (spot: Spot) => void;
}) {
  const { picture, slot } = spot;
  const stack = picture?.stack ?? 1;
  const words = [
    `picture ${index + 1} of ${total}`, slot.edge && "least typical",
    stack > 1 && `${stack} near-duplicates`, out && "out",
  ].filter(Boolean).join(", ");
  return (
    <div
      role="gridcell" class={`spot ${at ? "at" : ""} ${out ? "out" : ""}`} tabIndex={at ? 0 : -1}
      aria-colindex={slot.column + 1} aria-selected={!out} aria-label={words}
      data-testid="tile" data-image={spot.id} data-index={index} data-out={out}
      title={picture ? shown(picture.name) : ""}
      style={{ width: `${tile}px`, height: `${tile}px`, left: `${x}px`, top: `${y}px` }}
      onPointerDown={() => onPress(spot)} onClick={() => onToggle(index)}
    >
      <Thumbnail of={picture ?? { id: spot.id, v: null }} tile={tile} />
      {stack > 1 && <span class="stack" aria-hidden="true">×{stack}</span>}
      {out && <span class="cross" aria-hidden="true" />}
    </div>
  );
}
