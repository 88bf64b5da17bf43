/**
 * The groups that are asked one after the other: which is in view, what was answered, what is
 * left of it, what comes next.
 *
 * Pure: every step gives a new line.  What the server sends later never moves the group in view;
 * groups that are not reached yet may be put in another order.
 */

import type { Group } from "../api.types";

export interface Entry {
  group: Group;
  out: ReadonlySet<string>; // pictures taken out
  done: string | null; // what settled it, in words
  seen: number; // the labels that it was served with: what others said since is not overwritten
}

/** What was done to one or more groups, with what is needed to take it back. */
export interface Act {
  event: string;
  images: readonly string[];
  before: readonly Entry[]; // the groups as they were
  after: readonly Entry[]; // what stands in the place of the first of them
}

export interface Line {
  entries: readonly Entry[];
  at: number;
  answered: ReadonlyMap<string, string>; // picture -> event of the answer that took it
  acts: ReadonlyMap<string, Act>;
}

export const EMPTY: Line = { entries: [], at: 0, answered: new Map(), acts: new Map() };

const entryOf = (seen: number) => (group: Group): Entry => ({ group, out: new Set(), done: null, seen });

export function current(line: Line): Entry | null {
  return line.entries[line.at] ?? null;
}

export function find(line: Line, id: string): Entry | null {
  return line.entries.find((entry) => entry.group.id === id) ?? null;
}

/** The pictures of a group that an answer would take: all of a settled one, else the open ones. */
export function left(line: Line, entry: Entry): readonly string[] {
  if (entry.done !== null || line.answered.size === 0) return entry.group.ids;
  return entry.group.ids.filter((id) => !line.answered.has(id));
}

export function isOpen(line: Line, entry: Entry): boolean {
  return entry.done === null && left(line, entry).length > 0;
}

export function openEntries(line: Line): readonly Entry[] {
  return line.entries.filter((entry) => isOpen(line, entry));
}

/** Adds what the server serves; groups that are in the line already stay as they are. */
export function grown(line: Line, groups: readonly Group[], seen: number): Line {
  const known = new Set(line.entries.map((entry) => entry.group.id));
  const fresh = groups.filter((group) => !known.has(group.id));
  return fresh.length ? { ...line, entries: [...line.entries, ...fresh.map(entryOf(seen))] } : line;
}

/** A newer list: what was reached stays, up to `reached`; behind it goes on as it is now. */
export function renewed(line: Line, reached: number, groups: readonly Group[], seen: number): Line {
  const kept = line.entries.filter((entry, i) => i <= reached || entry.done !== null);
  const next = grown({ ...line, entries: kept }, groups, seen);
  return { ...next, at: nextOpen(next, reached) };
}

/** A newer list, shown at once: only what is settled stays. */
export function replaced(line: Line, groups: readonly Group[], seen: number): Line {
  const kept = line.entries.filter((entry) => entry.done !== null);
  const next = grown({ ...line, entries: kept, at: kept.length }, groups, seen);
  return { ...next, at: nextOpen(next, kept.length - 1) };
}

/** The next open group behind `at`, then from the start; the end where there is none. */
function nextOpen(line: Line, at: number): number {
  const order = [...line.entries.keys()];
  const turn = [...order.slice(at + 1), ...order.slice(0, at + 1)];
  return turn.find((i) => isOpen(line, line.entries[i]!)) ?? line.entries.length;
}

/** Forward to the next open group, back to the one before, settled or not. */
export function stepped(line: Line, by: 1 | -1): Line {
  if (by === 1) return { ...line, at: nextOpen(line, line.at) };
  return { ...line, at: Math.max(0, line.at - 1) };
}

export function shownAt(line: Line, id: string): Line {
  const at = line.entries.findIndex((entry) => entry.group.id === id);
  return at < 0 ? line : { ...line, at };
}

/** Puts entries in the place of others: at the first one's; the others go. */
function exchanged(line: Line, old: readonly Entry[], fresh: readonly Entry[]): Line {
  const ids = new Set(old.map((entry) => entry.group.id));
  const first = line.entries.findIndex((entry) => ids.has(entry.group.id));
  if (first < 0) return line;
  const inView = current(line);
  const entries = line.entries.flatMap((entry, i) =>
    i === first ? [...fresh] : ids.has(entry.group.id) ? [] : [entry],
  );
  // What is in view stays in view, unless it is what was exchanged.
  const same = inView && !ids.has(inView.group.id) ? entries.indexOf(inView) : -1;
  const gone = inView !== null && ids.has(inView.group.id);
  return { ...line, entries, at: gone ? first : same >= 0 ? same : entries.length };
}

/** Takes a picture out of the group, or puts it back. */
export function toggled(line: Line, id: string, images: readonly string[], out: boolean): Line {
  const entries = line.entries.map((entry) => {
    if (entry.group.id !== id) return entry;
    const next = new Set(entry.out);
    for (const image of images) out ? next.add(image) : next.delete(image);
    return { ...entry, out: next };
  });
  return { ...line, entries };
}

/**
 * Notes an answer to groups and goes on.  `whole`: the groups are settled by it, with these
 * words; else only the pictures leave, and the group shows its next ones.
 */
export function answered(
  line: Line, event: string, ids: readonly string[], images: readonly string[],
  whole: string | null,
): Line {
  const before = line.entries.filter((entry) => ids.includes(entry.group.id));
  if (before.length === 0) return line;
  const after = before.map((entry) => ({ ...entry, done: whole ?? entry.done }));
  const act: Act = { event, images, before, after };
  const next = acted({ ...line, acts: new Map([...line.acts, [event, act]]) }, act);
  const now = current(next);
  return now && isOpen(next, now) ? next : { ...next, at: nextOpen(next, next.at) };
}

/** The line with an answer in force. */
function acted(line: Line, act: Act): Line {
  const taken = new Map(line.answered);
  for (const image of act.images) taken.set(image, act.event);
  return swapped({ ...line, answered: taken }, act.before, act.after);
}

/** As many for as many: each in its place; else all in the place of the first. */
function swapped(line: Line, old: readonly Entry[], fresh: readonly Entry[]): Line {
  if (old.length !== fresh.length) return exchanged(line, old, fresh);
  return old.reduce((next, entry, i) => exchanged(next, [entry], [fresh[i]!]), line);
}

/** Puts groups in the place of others: the halves of one, the sum of several. */
export function changed(
  line: Line, event: string, ids: readonly string[], groups: readonly Group[], seen: number,
): Line {
  const before = line.entries.filter((entry) => ids.includes(entry.group.id));
  if (before.length === 0 || groups.length === 0) return line;
  const act: Act = { event, images: [], before, after: groups.map(entryOf(seen)) };
  const next = acted({ ...line, acts: new Map([...line.acts, [event, act]]) }, act);
  return shownAt(next, groups[0]!.id);
}

/** Puts groups aside without an answer, and goes on. */
export function aside(line: Line, event: string, ids: readonly string[], why: string): Line {
  return answered(line, event, ids, [], why);
}

/** Takes an answer back and shows its group; null when it was none of this page's. */
export function taken(line: Line, event: string): Line | null {
  const act = line.acts.get(event);
  if (!act) return null;
  const open = new Map([...line.answered].filter(([, by]) => by !== event));
  const next = swapped({ ...line, answered: open }, act.after, act.before);
  return shownAt(next, act.before[0]!.group.id);
}

/** Does an answer again that was taken back, and goes on; null when it was none of this page's. */
export function again(line: Line, event: string): Line | null {
  const act = line.acts.get(event);
  if (!act) return null;
  const next = acted(line, act);
  const now = current(next);
  return now && isOpen(next, now) ? next : { ...next, at: nextOpen(next, next.at) };
}

export const ORDERS = ["useful", "clear", "different", "small"] as const;
export type Order = (typeof ORDERS)[number];

/** The groups in another order for the overview; "useful" is how they are served. */
export function sorted(entries: readonly Entry[], order: Order): readonly Entry[] {
  if (order === "useful") return entries;
  const of = {
    clear: ({ group }: Entry) => -group.ids.length * (group.likely?.p ?? 1),
    different: (entry: Entry) => entry.group.likely?.p ?? 0, // like nothing that was labelled
    small: (entry: Entry) => entry.group.ids.length,
  }[order];
  return [...entries].sort((a, b) => of(a) - of(b));
}
