/** Listens to keys for the whole page and hands each to who can do something with it. */

import type { Screen } from "../logic/address";
import { cellOf } from "../logic/checks";
import { chordOf, meaningOf, MOVES, type Place } from "../logic/keys";
import { askScreens } from "./context";
import { findLike, pinFocused } from "./focused";
import type { Model } from "./model";

export const MAC = /Mac|iPhone|iPad/.test(navigator.platform);

const HELD = new Set(["next", "previous", "undo", "redo"]); // keys that may be held down
const GO: Record<string, Screen> = {
  "go-gallery": "gallery", "go-queue": "queue", "go-pictures": "pictures", "go-audit": "audit", "go-review": "review",
  "go-map": "map", "go-classes": "classes", "go-export": "export", "go-history": "history",
  keys: "keys",
};

const PLACES: ReadonlySet<string> = new Set([
  "gallery", "queue", "pictures", "audit", "review", "map", "classes",
]);

/** Which keys hold: a grid has those of Pictures, wherever it was opened from. */
export function placeOf({ screen, part }: { screen: Screen; part?: string }): Place {
  if (screen === "find" || part === "grid" || cellOf(part ?? "")) return "pictures";
  return PLACES.has(screen) ? (screen as Place) : "other";
}

export function listenToKeys(model: Model): () => void {
  const onKey = (event: KeyboardEvent) => {
    if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
    const chord = chordOf(event, { mac: MAC });
    if (chord === null || keepsToItself(event.target, chord)) return;
    const { address, settings, state, started } = model.now;
    if (chord === "enter" && state?.first_visit && !started && address.screen === "queue") {
      event.preventDefault();
      return model.begin();
    }
    const meaning = meaningOf(chord, placeOf(address), model.classes, settings.bindings);
    if (!meaning) return;
    const held = "move" in meaning || ("command" in meaning && HELD.has(meaning.command));
    if (event.repeat && !held) return event.preventDefault();
    if (act(model, meaning)) event.preventDefault();
  };
  window.addEventListener("keydown", onKey);
  return () => window.removeEventListener("keydown", onKey);
}

function act(model: Model, meaning: NonNullable<ReturnType<typeof meaningOf>>): boolean {
  if (askScreens(meaning)) return true;
  if (!("command" in meaning)) return false;
  const screen = GO[meaning.command];
  if (screen) {
    model.visit({ screen });
    return true;
  }
  if (meaning.command === "like") return findLike(model);
  if (meaning.command === "pin") return pinFocused(model);
  if (meaning.command === "undo") {
    model.undo();
    return true;
  }
  if (meaning.command === "redo") {
    model.redo();
    return true;
  }
  if (meaning.command === "close") {
    if (model.now.address.screen !== "queue") history.back();
    return true;
  }
  return false;
}

/** Whether what has the focus needs the key itself: text boxes all, buttons Enter and Space. */
function keepsToItself(target: EventTarget | null, chord: string): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target.isContentEditable) return true;
  if (target instanceof HTMLTextAreaElement) return true;
  if (target instanceof HTMLInputElement) {
    if (!["checkbox", "radio", "range"].includes(target.type)) return true;
    return chord === "space" || MOVES.has(chord);
  }
  if (target instanceof HTMLSelectElement) return chord !== "esc" && !chord.startsWith("ctrl+");
  const button = target.closest("button, a[href], summary");
  return button !== null && (chord === "enter" || chord === "space");
}
