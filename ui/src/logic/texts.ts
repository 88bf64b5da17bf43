/** The sentences of the page.  Plain words, the number always with what it counts. */

const NUMBER = new Intl.NumberFormat("en");

export function count(n: number): string {
  return NUMBER.format(n);
}

/** `about 9 min`, `a few seconds`. */
export function about(ms: number): string {
  const text = duration(ms);
  return text.startsWith("a ") ? text : `about ${text}`;
}

export function pictures(n: number): string {
  return n === 1 ? "1 picture" : `${count(n)} pictures`;
}

export const STATE_WORDS: Record<string, string> = {
  open: "open", labelled: "labelled", later: "later", unsure: "unsure",
  none: "none of these", broken: "broken", missing: "missing", unreadable: "cannot be read",
};

/** `36 images labelled "copepod"`: what an answer did, as undo will name it. */
export function answered(n: number, answer: { name?: string; state?: string }): string {
  const images = n === 1 ? "1 image" : `${count(n)} images`;
  if (answer.name !== undefined) return `${images} labelled "${answer.name}"`;
  if (answer.state === "open") return `${images} made open again`;
  return `${images} set to ${STATE_WORDS[answer.state ?? ""] ?? answer.state}`;
}

export function undoOffer(text: string, key = "Ctrl+Z"): string {
  return `Undo (${key}): ${text}`;
}

/** The storage mark of the top bar. */
export function storage(waiting: number, connected: boolean): string {
  if (!connected) return "Not connected. Answers are kept here.";
  return waiting === 0 ? "Stored" : `${count(waiting)} waiting`;
}

export function disconnected(waiting: number): string {
  return (
    `handful is not running any more. Answers are kept here (${count(waiting)}). ` +
    "Run the same command to go on."
  );
}

export function found(n: number, folder: string): string {
  return (
    `${pictures(n)} found in ${folder}. Nothing leaves this computer. ` +
    "Press a key for each picture or type a name to make your first class."
  );
}

export function problems(n: number): string {
  return n === 1 ? "1 file has a problem" : `${count(n)} files have a problem`;
}

export function queueEnd(later: number, unsure: number): string {
  return `The queue is finished. Left: ${count(later)} later, ${count(unsure)} unsure.`;
}

export function scope(n: number): string {
  return `Label ${count(n)} selected`;
}

/** Why a selection cannot be answered at once, or null. */
export const MOST_AT_ONCE = 10_000;
export function tooMany(n: number): string | null {
  return n > MOST_AT_ONCE
    ? `${count(n)} pictures are more than one answer may hold (${count(MOST_AT_ONCE)}). Select fewer.`
    : null;
}

/** 40 s, 9 min, 2 h 10 min: never more exact than it deserves. */
export function duration(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 10) return "a few seconds";
  if (seconds < 55) return `${Math.round(seconds / 10) * 10} s`;
  const minutes = Math.max(1, Math.round(seconds / 60));
  if (minutes < 60) return `${minutes} min`;
  const rest = Math.round((minutes % 60) / 10) * 10;
  const hours = Math.floor(minutes / 60) + (rest === 60 ? 1 : 0);
  return rest === 0 || rest === 60 ? `${hours} h` : `${hours} h ${rest} min`;
}
