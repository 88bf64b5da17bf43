/** The pictures that the screen in view would act on: those selected, else the one in focus. */

import { useLayoutEffect, useRef } from "preact/hooks";
import { shown } from "../logic/names";
import { api, complaint } from "./api";
import type { Model } from "./model";

export interface Focused {
  ids: readonly string[];
  class?: number | null; // the label they have, where the screen knows it
}

type Teller = () => Focused | null;
const tellers: Teller[] = [];

/** Says what is in focus as long as the screen is drawn; the one drawn last is asked first. */
export function useFocused(tell: Teller): void {
  const latest = useRef(tell);
  latest.current = tell;
  useLayoutEffect(() => {
    const mine: Teller = () => latest.current();
    tellers.push(mine);
    return () => {
      tellers.splice(tellers.indexOf(mine), 1);
    };
  }, []);
}

export function focused(): Focused | null {
  for (let i = tellers.length - 1; i >= 0; i--) {
    const found = tellers[i]!();
    if (found && found.ids.length > 0) return found;
  }
  return null;
}

const MOST_LIKE = 20; // pictures that an address can hold and a person can mean

/** Opens what looks like the pictures in focus; false where none is. */
export function findLike(model: Model): boolean {
  const found = focused();
  if (!found) return false;
  model.visit({ screen: "find", like: found.ids.slice(0, MOST_LIKE) });
  return true;
}

export const MOST_PINNED = 8;

/** Pins pictures to the guide of a class, as examples or as what it is not; off where they are. */
export async function pin(
  model: Model, id: number, ids: readonly string[], as: "examples" | "nots",
): Promise<void> {
  const owner = model.classes.find((c) => c.id === id);
  if (!owner || id < 0) return model.tell("The class is not stored yet. Try again in a moment.", "careful");
  const has = owner.guide[as].map((picture) => picture.id);
  const off = ids.every((picture) => has.includes(picture));
  const next = off ? has.filter((p) => !ids.includes(p)) : [...new Set([...has, ...ids])];
  if (next.length > MOST_PINNED) {
    return model.tell(`A guide holds ${MOST_PINNED} pictures. Take one off first (Classes).`, "careful");
  }
  const other = as === "examples" ? "nots" : "examples";
  const guide = {
    text: owner.guide.text, [as]: next,
    [other]: owner.guide[other].map((p) => p.id).filter((p) => !next.includes(p)),
  } as { text: string; examples: string[]; nots: string[] };
  const made = await model.change((event, seen_rev) => api.changeClass(id, { id: event, seen_rev, guide }));
  const where = as === "examples" ? `the examples of "${shown(owner.name)}"` : `what is not "${shown(owner.name)}"`;
  if (made) model.tell(off ? `Taken off ${where}.` : `Pinned to ${where}.`);
}

/** Pins what is in focus to the class that it has; false where nothing is. */
export function pinFocused(model: Model): boolean {
  const found = focused();
  if (!found) return false;
  void pinTo(model, found);
  return true;
}

async function pinTo(model: Model, found: Focused): Promise<void> {
  const [first] = found.ids;
  let id = found.class ?? null;
  if (id === null && first !== undefined) {
    const known = model.now.overlay.get(first);
    try {
      id = known ? known.class : (await api.image(first)).picture.class;
    } catch (error) {
      return model.tell(complaint(error), "careful");
    }
  }
  if (id === null) return model.tell("Label it first: an example belongs to a class.", "careful");
  await pin(model, id, found.ids, "examples");
}
