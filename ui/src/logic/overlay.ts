/**
 * What an answer changes in the counts before the server has said so.
 *
 * `by_you + in_groups + by_model + open` is all pictures; later ones count as open, and
 * unsure, none and broken as answered by you.
 */

import type { ClassInfo, Counts } from "../api.types";

export interface Standing {
  state: string;
  class: number | null;
  source?: string | null;
}

export interface Change {
  from: Standing;
  to: Standing;
}

const ANSWERED = new Set(["labelled", "unsure", "none", "broken"]);

function pile(standing: Standing): "by_you" | "in_groups" | "by_model" | "open" {
  if (!ANSWERED.has(standing.state)) return "open";
  return standing.source === "group" ? "in_groups" : "by_you";
}

export function withChanges(counts: Counts, changes: readonly Change[]): Counts {
  const next = { ...counts };
  for (const { from, to } of changes) {
    next[pile(from)] -= 1;
    next[pile(to)] += 1;
    for (const [standing, step] of [[from, -1], [to, 1]] as const) {
      if (standing.state === "later" || standing.state === "unsure") next[standing.state] += step;
      if (standing.state === "none" || standing.state === "broken") next[standing.state] += step;
    }
  }
  return next;
}

export function withClassChanges(
  classes: readonly ClassInfo[], changes: readonly Change[],
): ClassInfo[] {
  const steps = new Map<number, number>();
  for (const { from, to } of changes) {
    if (from.class !== null) steps.set(from.class, (steps.get(from.class) ?? 0) - 1);
    if (to.class !== null) steps.set(to.class, (steps.get(to.class) ?? 0) + 1);
  }
  return classes.map((c) => {
    const step = steps.get(c.id);
    return step ? { ...c, pictures: c.pictures + step, by_you: c.by_you + step } : c;
  });
}
