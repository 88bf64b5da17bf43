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

/** A step in the background, in words, with how far it is where that can be counted. */
export function task(of: { text: string; done: number; total: number; eta_s: number | null }): string {
  const far = of.total > 1 ? ` ${count(of.done)} of ${count(of.total)}` : "";
  return `${of.text}${far}${of.eta_s === null ? "" : `, ${about(of.eta_s * 1000)}`}`;
}

// ------------------------------------------------------------------ groups

export function groupAt(number: number, total: number): string {
  return `Group ${count(number)} of ${count(total)}`;
}

export function groupSize(n: number, shown: number): string {
  return shown >= n ? `${pictures(n)}, all shown` : `${pictures(n)}, ${count(shown)} shown`;
}

/** The button over a whole group; the name where one key can give it. */
export function labelAll(n: number, name: string | null): string {
  return `Label all ${count(n)} in this group${name === null ? "" : `: ${name}`}`;
}

export function onlyShown(n: number): string {
  return `Only the ${count(n)} shown`;
}

const MANY_UNSEEN = 200;

/** How many of what an answer takes were never on the screen; null: all were. */
export function unseen(n: number): { text: string; many: boolean } | null {
  if (n === 0) return null;
  const many = n > MANY_UNSEEN;
  return { text: many ? `${count(n)} of them were never on screen` : `${count(n)} not on screen`, many };
}

export function takenOut(n: number): string {
  return n === 1 ? "1 taken out" : `${count(n)} taken out`;
}

export function groups(n: number): string {
  return n === 1 ? "1 group" : `${count(n)} groups`;
}

export function groupsSoon(eta_s: number | null): string {
  const when = eta_s === null ? "soon" : `in ${about(eta_s * 1000)}`;
  return `Groups appear ${when}. Until then: Queue.`;
}

export function groupsDone(open: number): string {
  const rest = open === 1 ? "1 picture is still open." : `${pictures(open)} are still open.`;
  return `Every group is answered. ${open === 0 ? "No picture is open." : rest}`;
}

/** The groups of the first pictures are answered while those of the others are being made. */
export function groupsMore(open: number, eta_s: number | null): string {
  const when = eta_s === null ? "soon" : `in ${about(eta_s * 1000)}`;
  return `These groups are answered. More appear ${when}: ${pictures(open)} ${open === 1 ? "is" : "are"} still open.`;
}

export const TOO_FEW = "Too few pictures for groups. Use the queue.";
export const FEWEST = 30; // pictures that groups are made of

/** `Border found: 640 labelled, 12 pages looked at.` */
export function borderFound(n: number, pages: number): string {
  return `Border found: ${count(n)} labelled, ${pages === 1 ? "1 page" : `${count(pages)} pages`} looked at.`;
}

// ------------------------------------------------------------------ suggestions

export const FIRST_LOOK =
  "No suggestions yet. These pictures are random and count for your audit.";

/** `about 9 min` has its own word; the start strip says when groups come. */
export function groupsAppear(eta_s: number | null): string {
  return eta_s === null ? "Groups appear soon." : `Groups appear in ${about(eta_s * 1000)}.`;
}

/** The advice in two or three words, for the line above the work. */
export const ADVICE: Record<string, string> = {
  early: "go on", thin: "go on", steady: "check the result", goal_met: "you can stop",
  goal_not_met: "not yet", cannot: "more answers help little",
};
