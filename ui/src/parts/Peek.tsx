import { useEffect, useState } from "preact/hooks";
import { full } from "../app/api";
import { useApp } from "../app/context";

const LONG = 450; // ms that a finger rests on a tile until it opens
const SMALL = 160; // px: enlarged with their pixels kept sharp

export interface Peeked {
  id: string;
  v: string | null;
  w?: number | null;
  h?: number | null;
}

/** A picture large for as long as something is held: the key, the mouse button, the finger. */
export function Peek({ picture }: { picture: Peeked }) {
  const look = useApp((app) => app.look);
  const small = Math.max(picture.w ?? 999, picture.h ?? 999) <= SMALL;
  return (
    <div class="large peek" aria-hidden="true">
      <figure><img src={full(picture, false, look)} alt="" class={small ? "small" : ""} /></figure>
    </div>
  );
}

/** What is held large, and how a tile or a key holds it. */
export function usePeek(): {
  picture: Peeked | null;
  hold: (picture: Peeked) => void;
  press: (picture: Peeked) => void;
  /** Whether the click that follows was the end of a long press, and means nothing else. */
  wasLong: () => boolean;
} {
  const [picture, setPicture] = useState<Peeked | null>(null);
  const [state] = useState<{ timer?: ReturnType<typeof setTimeout>; long: boolean }>({ long: false });
  useEffect(() => {
    const let_go = () => {
      clearTimeout(state.timer);
      setPicture(null);
    };
    const events = ["keyup", "pointerup", "pointercancel", "blur"] as const;
    for (const event of events) window.addEventListener(event, let_go);
    return () => {
      for (const event of events) window.removeEventListener(event, let_go);
    };
  }, []);
  return {
    picture,
    hold: setPicture,
    press: (held) => {
      clearTimeout(state.timer);
      state.long = false;
      state.timer = setTimeout(() => {
        state.long = true;
        setPicture(held);
      }, LONG);
    },
    wasLong: () => state.long,
  };
}
