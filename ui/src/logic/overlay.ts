/**
 * What an answer changes in the counts before the server has said so.
 *
 * `by_you + in_groups + by_model + open` is all pictures; later ones count as open, and
 * unsure, none and broken as answered by you.  An open picture whose suggestion is sure counts
 * as one by the model.
 */

import type { ClassInfo, Counts } from "../api.types";

export interface Standing {
  state: string;
  class: number | null;
  source?: string | null;
  sure?: boolean; // open, with a suggestion that counts
}

export interface Change {
  from: Standing;
  to: Standing;
}

const ANSWERED = new Set(["labelled", "unsure", "none", "broken"]);

function pile(standing: Standing): "by_you" | "in_groups" | "by_model" | "open" {
  if (standing.state === "open" && standing.sure) return "by_model";
  if (!ANSWERED.has(standing.state)) return "open";
  if (standing.source === "accepted") return "by_model";
  return standing.source === "group" || standing.source === "copied" ? "in_groups" : "by_you";
}

/** The page may not know of a suggestion, or of a newer one: no pile is taken from when empty. */
function taken(counts: Counts, from: ReturnType<typeof pile>): ReturnType<typeof pile> {
  const other = { open: "by_model", by_model: "open" } as const;
  const unanswered = from === "open" || from === "by_model";
  return unanswered && counts[from] === 0 && counts[other[from]] > 0 ? other[from] : from;
}

export function withChanges(counts: Counts, changes: readonly Change[]): Counts {
  const next = { ...counts };
  for (const { from, to } of changes) {
    next[taken(next, pile(from))] -= 1;
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
  const steps = new Map<number, Record<"by_you" | "in_groups" | "by_model", number>>();
  const count = (standing: Standing, step: number) => {
    const of = pile(standing);
    if (standing.class === null || of === "open") return;
    const sums = steps.get(standing.class) ?? { by_you: 0, in_groups: 0, by_model: 0 };
    sums[of] += step;
    steps.set(standing.class, sums);
  };
  for (const { from, to } of changes) {
    count(from, -1);
    count(to, 1);
  }
  return classes.map((c) => {
    const step = steps.get(c.id);
    if (!step) return c;
    return {
      ...c, pictures: c.pictures + step.by_you + step.in_groups + step.by_model,
      by_you: c.by_you + step.by_you, in_groups: c.in_groups + step.in_groups,
      by_model: c.by_model + step.by_model,
    };
  });
}
