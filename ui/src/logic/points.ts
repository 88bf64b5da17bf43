/**
 * The points of the map as the server sends them: "hmap", five numbers, then arrays.
 *
 *     uint32 form, rev, n, total, label_rev
 *     uint32 rows[n]; uint16 x[n], y[n]      (not in the part `labels`)
 *     uint8  class[n], state[n], sure[n]
 */

import type { Points } from "./plane";

/** By number, as the server counts them. */
export const POINT_STATES = ["open", "labelled", "later", "unsure", "none", "broken", "gone"] as const;
export const NONE_OF_THESE = 254;
export const NO_CLASS = 255;

const FORM = 1;
const HEAD = 24;

export interface MapData {
  rev: number;
  total: number; // pictures that the map stands for: more than points when it is a sample
  points: Points;
  class: Uint8Array; // of the label; of the suggestion where nobody has answered
  state: Uint8Array; // in POINT_STATES
  sure: Uint8Array; // of the suggestion, of 255
}

/** Which map an answer is about. */
export function revOf(buffer: ArrayBuffer): number {
  return buffer.byteLength < HEAD ? 0 : new DataView(buffer).getUint32(8, true);
}

/** A whole map, or what its points are now for the map at hand. */
export function decoded(buffer: ArrayBuffer, known: MapData | null = null): MapData {
  if (buffer.byteLength < HEAD) throw new Error("the map is cut off");
  const head = new DataView(buffer, 0, HEAD);
  const magic = new TextDecoder().decode(new Uint8Array(buffer, 0, 4));
  const [form, rev, n, total] = [4, 8, 12, 16].map((at) => head.getUint32(at, true)) as
    [number, number, number, number];
  if (magic !== "hmap" || form !== FORM) throw new Error("this is no map that the page can read");
  const whole = buffer.byteLength === HEAD + 11 * n;
  if (!whole && (buffer.byteLength !== HEAD + 3 * n || known?.rev !== rev)) {
    throw new Error("the map is cut off");
  }
  let at = HEAD + (whole ? 8 * n : 0);
  const bytes = () => {
    const found = new Uint8Array(buffer, at, n);
    at += n;
    return found;
  };
  return {
    rev, total, class: bytes(), state: bytes(), sure: bytes(),
    points: whole
      ? { n, x: new Uint16Array(buffer, HEAD + 4 * n, n), y: new Uint16Array(buffer, HEAD + 6 * n, n) }
      : known!.points,
  };
}
