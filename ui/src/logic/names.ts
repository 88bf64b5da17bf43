/** Names are data: shown as they are, with what would hide or turn the text made visible. */

const LONGEST = 80;

// Controls, bidirectional marks and overrides, zero-width signs, line and paragraph ends.
// eslint-disable-next-line no-control-regex
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g;

function visible(sign: string): string {
  const code = sign.codePointAt(0)!;
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  return `\u27e8${code.toString(16).toUpperCase().padStart(4, "0")}\u27e9`;
}

export function shown(name: string): string {
  return name.replace(HIDDEN, visible);
}

/** The same, cut in the middle: both ends of a path tell more than its head. */
export function shortened(name: string, longest: number = LONGEST): string {
  const signs = Array.from(shown(name));
  if (signs.length <= longest) return signs.join("");
  const head = Math.ceil((longest - 1) / 2);
  const tail = longest - 1 - head;
  return `${signs.slice(0, head).join("")}\u2026${signs.slice(signs.length - tail).join("")}`;
}

/** A class name as it is stored: trimmed, one form of each letter. */
export function tidied(name: string): string {
  return name.normalize("NFC").replace(/\s+/g, " ").trim();
}

export function sameName(a: string, b: string): boolean {
  return folded(a) === folded(b);
}

export function folded(name: string): string {
  return tidied(name).toLocaleLowerCase("und");
}

export const LONGEST_CLASS_NAME = 60;

/** Letters to change, drop, add or swap from one word to the other; stops counting past `most`. */
export function distance(a: string, b: string, most: number = 2): number {
  const x = Array.from(a), y = Array.from(b);
  if (Math.abs(x.length - y.length) > most) return most + 1;
  let before: number[] = [], last = y.map((_, j) => j).concat(y.length);
  for (let i = 1; i <= x.length; i++) {
    const row = [i];
    for (let j = 1; j <= y.length; j++) {
      const same = x[i - 1] === y[j - 1] ? 0 : 1;
      row[j] = Math.min(row[j - 1]! + 1, last[j]! + 1, last[j - 1]! + same);
      if (i > 1 && j > 1 && x[i - 1] === y[j - 2] && x[i - 2] === y[j - 1]) {
        row[j] = Math.min(row[j]!, before[j - 2]! + 1);
      }
    }
    [before, last] = [last, row];
  }
  return last[y.length]!;
}
