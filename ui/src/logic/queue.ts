/**
 * The pictures that are asked one by one: where one stands, what was answered, what comes next.
 *
 * Pure: every step gives a new queue.  What the server sends later never moves the picture in
 * view, it only lengthens the line behind it.
 */

import type { Queued } from "../api.types";

export interface Given {
  event: string; // id of the answer's event
  class?: number;
  name?: string; // of the class, as it was when answered
  state?: string;
}

export interface Entry extends Queued {
  answer: Given | null;
  blind: boolean; // served without a suggestion on purpose: its answer goes to the audit
  model_rev: number; // what the suggestion came from
  seen: number; // the labels that it was served with: what others said since is not overwritten
}

/** Where served pictures come from. */
export interface From {
  blind: boolean;
  model_rev: number;
  label_rev: number;
}

export interface Line {
  entries: readonly Entry[];
  at: number;
}

const SEEN: From = { blind: false, model_rev: 0, label_rev: 0 };

export const EMPTY: Line = { entries: [], at: 0 };

export function current(line: Line): Entry | null {
  return line.entries[line.at] ?? null;
}

/** Adds what the server serves; pictures that are in the line already stay where they are. */
export function grown(line: Line, items: readonly Queued[], from: From = SEEN): Line {
  const known = new Set(line.entries.map((entry) => entry.id));
  const fresh = items.filter((item) => !known.has(item.id));
  if (fresh.length === 0) return line;
  const entries = fresh.map((item) => (
    { ...item, answer: null, blind: from.blind, model_rev: from.model_rev, seen: from.label_rev }
  ));
  return { ...line, entries: [...line.entries, ...entries] };
}

/** A newer order: the picture in view stays, and the `near` next ones, which are loaded already. */
export function renewed(line: Line, items: readonly Queued[], from: From, near: number): Line {
  let spare = near;
  const kept = line.entries.filter((e, i) => i <= line.at || e.answer !== null || spare-- > 0);
  return grown({ ...line, entries: kept }, items, from);
}

/** Notes the answer of the picture in view and goes to the next that has none. */
export function answered(line: Line, answer: Given): Line {
  const entries = line.entries.map((e, i) => (i === line.at ? { ...e, answer } : e));
  return { entries, at: nextOpen(entries, line.at) };
}

/** The next picture without an answer, from behind `at` and then from the start; else the end. */
function nextOpen(entries: readonly Entry[], at: number): number {
  for (let i = at + 1; i < entries.length; i++) if (entries[i]!.answer === null) return i;
  for (let i = 0; i < at; i++) if (entries[i]!.answer === null) return i;
  return entries.length;
}

/** One step without an answer. */
export function stepped(line: Line, by: 1 | -1): Line {
  const last = Math.min(line.entries.length, line.at + 1);
  const at = by === 1 ? last : Math.max(0, line.at - 1);
  if (by === 1 && at >= line.entries.length) {
    const open = line.entries.findIndex((entry) => entry.answer === null);
    return { ...line, at: open < 0 ? line.entries.length : open };
  }
  return { ...line, at };
}

/** Leaves out a picture that cannot be shown; where it was in view, the next one follows. */
export function without(line: Line, id: string): Line {
  const gone = line.entries.findIndex((entry) => entry.id === id && entry.answer === null);
  if (gone < 0) return line;
  const entries = line.entries.filter((_, i) => i !== gone);
  if (gone < line.at) return { entries, at: line.at - 1 };
  const open = gone > line.at || !entries[line.at]?.answer;
  return { entries, at: open ? line.at : nextOpen(entries, line.at) };
}

/** Takes an answer back and shows its picture; the line as it is when the event is not in it. */
export function taken(line: Line, event: string): Line {
  const at = line.entries.findIndex((entry) => entry.answer?.event === event);
  if (at < 0) return line;
  return { entries: line.entries.map((e, i) => (i === at ? { ...e, answer: null } : e)), at };
}

/** Takes back an answer that was refused: whoever answers again knows what stood at `seen`. */
export function refused(line: Line, event: string, seen: number): Line {
  const back = taken(line, event);
  if (back === line) return line;
  return { ...back, entries: back.entries.map((e, i) => (i === back.at ? { ...e, seen } : e)) };
}

export function shownAt(line: Line, id: string): Line {
  const at = line.entries.findIndex((entry) => entry.id === id);
  return at < 0 ? line : { ...line, at };
}

/** Pictures without an answer from the one in view on. */
export function ahead(line: Line): number {
  return line.entries.slice(line.at).filter((entry) => entry.answer === null).length;
}

export function unanswered(line: Line): number {
  return line.entries.filter((entry) => entry.answer === null).length;
}

/** The last answers, newest first. */
export function lately(line: Line, n: number, order: readonly string[]): Entry[] {
  const byEvent = new Map(
    line.entries.filter((e) => e.answer).map((entry) => [entry.answer!.event, entry] as const),
  );
  const found: Entry[] = [];
  for (let i = order.length - 1; i >= 0 && found.length < n; i--) {
    const entry = byEvent.get(order[i]!);
    if (entry) found.push(entry);
  }
  return found;
}
