/**
 * The lines under the box in which a class is typed.
 *
 * Enter takes the highlighted line.  Making a class is a line of its own, the last, and is
 * highlighted only where nothing matches: typing "man" with "Manuel" there never makes "man".
 */

import { distance, folded, LONGEST_CLASS_NAME, sameName, tidied } from "./names";

export interface Named {
  id: number;
  name: string;
}

export type Line =
  | { kind: "class"; id: number; name: string }
  | { kind: "new"; name: string; near: string | null };

export interface Lines {
  lines: Line[];
  highlighted: number; // -1: nothing to take
  problem: string | null; // why no class can be made of this
}

export function linesFor(typed: string, classes: readonly Named[]): Lines {
  const name = tidied(typed);
  const wanted = folded(name);
  const ranked = classes
    .map((c) => ({ c, rank: rankOf(folded(c.name), wanted) }))
    .filter(({ rank }) => rank !== null)
    .sort((a, b) => a.rank! - b.rank! || a.c.name.localeCompare(b.c.name));
  const lines: Line[] = ranked.map(({ c }) => ({ kind: "class", id: c.id, name: c.name }));
  if (name === "") return { lines, highlighted: lines.length ? 0 : -1, problem: null };
  const exact = classes.some((c) => sameName(c.name, name));
  const tooLong = Array.from(name).length > LONGEST_CLASS_NAME;
  const problem = tooLong ? `A class name has at most ${LONGEST_CLASS_NAME} letters.` : null;
  if (!exact && !tooLong) lines.push({ kind: "new", name, near: nearestTo(name, classes) });
  return { lines, highlighted: lines.length ? 0 : -1, problem };
}

function rankOf(name: string, wanted: string): number | null {
  if (wanted === "") return 0;
  if (name === wanted) return 0;
  if (name.startsWith(wanted)) return 1;
  if (name.split(/[\s_\-./]+/).some((word) => word.startsWith(wanted))) return 2;
  return name.includes(wanted) ? 3 : null;
}

/** A class whose name differs by a slip of the finger, if there is one. */
function nearestTo(name: string, classes: readonly Named[]): string | null {
  const wanted = folded(name);
  const most = wanted.length < 5 ? 1 : 2;
  const near = classes
    .map((c) => ({ name: c.name, far: distance(folded(c.name), wanted, most) }))
    .filter(({ far }) => far <= most)
    .sort((a, b) => a.far - b.far);
  return near[0]?.name ?? null;
}
