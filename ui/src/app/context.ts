/** The model for every part of the page, and the keys that the screen in view answers to. */

import { createContext } from "preact";
import { useContext, useLayoutEffect, useRef } from "preact/hooks";
import type { Meaning } from "../logic/keys";
import type { App, Model } from "./model";
import { usePart } from "./observable";

export const ModelContext = createContext<Model>(null as unknown as Model);

export function useModel(): Model {
  return useContext(ModelContext);
}

export function useApp<P>(pick: (app: App) => P): P {
  return usePart(useModel().app, pick);
}

/** What a screen does with a key: true where it did something with it. */
export type Answerer = (meaning: NonNullable<Meaning>) => boolean;

const answerers: Answerer[] = [];

/** The part drawn last is asked first: a large view before the grid below it. */
export function useKeys(answer: Answerer): void {
  const latest = useRef(answer);
  latest.current = answer;
  useLayoutEffect(() => { // at once: a key pressed when the screen shows is for this screen
    const mine: Answerer = (meaning) => latest.current(meaning);
    answerers.push(mine);
    return () => {
      answerers.splice(answerers.indexOf(mine), 1);
    };
  }, []);
}

export function askScreens(meaning: NonNullable<Meaning>): boolean {
  for (let i = answerers.length - 1; i >= 0; i--) if (answerers[i]!(meaning)) return true;
  return false;
}
