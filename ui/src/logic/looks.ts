/** A class is shown by key, name, colour and pattern, never by colour alone. */

export interface Look {
  slot: number; // 1..7, a colour of Okabe and Ito; 0: no colour left, key and name only
  pattern: "solid" | "diagonal" | "dots" | "none";
}

export const SLOTS = 7;
const PATTERNS = ["solid", "diagonal", "dots"] as const;
export const LOOKS = SLOTS * PATTERNS.length;

/** Look number 0..20 as colour and pattern; further classes go by key and name. */
export function lookOf(index: number | null): Look {
  if (index === null || index < 0 || index >= LOOKS) return { slot: 0, pattern: "none" };
  return { slot: (index % SLOTS) + 1, pattern: PATTERNS[Math.floor(index / SLOTS)]! };
}

/** The classes of the style sheet that draw a look. */
export function lookClass(index: number | null): string {
  const { slot, pattern } = lookOf(index);
  return `look look-${slot} pattern-${pattern}`;
}

/** In words, for those who do not see it. */
export function lookName(index: number | null): string {
  const { slot, pattern } = lookOf(index);
  const colour = ["no colour", "blue", "orange", "green", "pink", "sky", "red", "yellow"][slot]!;
  return slot === 0 || pattern === "solid" ? colour : `${colour}, ${pattern}`;
}

/** The colours by slot, as the style sheet has them: for what is drawn and not styled. */
export const LOOK_COLOURS: readonly string[] = [
  "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442",
];
