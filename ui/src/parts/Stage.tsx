import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { full } from "../app/api";
import { useApp, useModel } from "../app/context";
import { plain } from "../logic/look";
import { nameOf } from "../logic/keys";
import { count } from "../logic/texts";
import { keepFocus } from "./ClassColumn";
import { Contrast } from "./Contrast";

const SMALL = 160; // px: pictures under this are enlarged with their pixels kept sharp
const ENLARGED = 6; // times: a larger picture of few pixels only makes the eyes travel
const AT_LEAST = 320; // px: but never smaller than this where there is room
const STEPS = [1, 1.5, 2, 3, 4, 6, 8];
const PIXELS = 3; // the step that P goes to

export interface Shown {
  id: string;
  v: string | null;
  w: number | null;
  h: number | null;
  pages?: number;
}

export interface Zoom {
  at: number;
  page: number; // of a picture that has several, from 0
  by: (step: number) => void;
  turn: (by: 1 | -1) => void;
  /** Does what a command says, and whether it was one of looking. */
  command: (name: string) => boolean;
  reset: () => void;
}

/** How near one looks, and at which page; every picture begins as a whole, with its first page. */
export function useZoom(picture: Shown | null | undefined): Zoom {
  const model = useModel();
  const id = picture?.id, pages = picture?.pages ?? 1;
  const [at, setAt] = useState(0);
  const [page, setPage] = useState(0);
  useEffect(() => {
    setAt(0);
    setPage(0);
  }, [id]);
  const turn = (by: 1 | -1) => setPage((p) => Math.max(0, Math.min(pages - 1, p + by)));
  const by = (step: number) => setAt((z) => Math.max(0, Math.min(STEPS.length - 1, z + step)));
  const command = (name: string) => {
    if (name === "zoom") setAt((z) => (z ? 0 : PIXELS));
    else if (name === "larger") by(1);
    else if (name === "smaller") by(-1);
    else if (name === "next-page") turn(1);
    else if (name === "previous-page") turn(-1);
    else if (name === "contrast") model.app.set({ contrast: !model.now.contrast });
    else return false;
    return true;
  };
  return { at, page, by, turn, command, reset: () => setAt(0) };
}

/** One picture as large as it deserves, on neutral ground, with the tools below it. */
export function Stage({ picture, zoom, onStep, onGone, children }: {
  picture: Shown;
  zoom: Zoom;
  onStep: (by: 1 | -1) => void;
  onGone: (id: string) => Promise<boolean>; // whether a picture that did not load left the line
  children?: ComponentChildren;
}) {
  const frame = useRef<HTMLDivElement>(null);
  const [fault, setFault] = useState<string | null>(null);
  const [box, setBox] = useState({ width: 0, height: 0 });
  const times = STEPS[zoom.at]!;
  const model = useModel();
  const look = useApp((app) => app.look);
  const open = useApp((app) => app.contrast);
  const pages = picture.pages ?? 1;
  useEffect(() => {
    const watch = new ResizeObserver(([at]) => at && setBox({
      width: at.contentRect.width, height: at.contentRect.height,
    }));
    watch.observe(frame.current!);
    return () => watch.disconnect();
  }, []);
  const live = useApp((app) => app.live);
  useEffect(() => setFault(null), [picture.id, live]); // what did not come is asked for again
  useEffect(() => {
    const view = frame.current!; // the middle stays in the middle
    view.scrollTo((view.scrollWidth - view.clientWidth) / 2, (view.scrollHeight - view.clientHeight) / 2);
  }, [times, picture.id]);

  const w = picture.w ?? 1, h = picture.h ?? 1;
  const room = Math.min(box.width / w, box.height / h);
  const fit = Math.min(room, Math.max(ENLARGED, AT_LEAST / Math.max(w, h)));
  const known = picture.w !== null && box.width > 0;
  const size = known ? { width: `${w * fit * times}px`, height: `${h * fit * times}px` } : {};
  const over = times * fit > room;
  return (
    <>
      <div class={`picture ${over ? "zoomed" : ""}`} ref={frame} tabIndex={over ? 0 : -1}>
        {children}
        {fault === picture.id ? (
          <p class="fault">
            This picture cannot be shown. If it stays so, answer "broken" (I); Problems says why.
          </p>
        ) : (
          <img
            key={picture.id} src={full(picture, times > 2, look, zoom.page)} alt="The picture to answer" style={size}
            class={Math.max(w, h) <= SMALL ? "small" : ""} decoding="sync" draggable={false}
            data-testid="picture" data-image={picture.id}
            onError={() => void onGone(picture.id).then((gone) => !gone && setFault(picture.id))}
          />
        )}
      </div>
      {open && <Contrast picture={picture} page={zoom.page} />}
      <div class="tools">
        <button type="button" onMouseDown={keepFocus} onClick={() => onStep(-1)}>
          <kbd>{nameOf("left")}</kbd> previous
        </button>
        <button type="button" onMouseDown={keepFocus} onClick={() => onStep(1)}>
          next <kbd>{nameOf("right")}</kbd>
        </button>
        <span class="place">
          {picture.w && picture.h ? `${count(picture.w)} × ${count(picture.h)} pixels` : ""}
        </span>
        {pages > 1 && (
          <span class="row" role="group" aria-label="Pages" data-testid="pages">
            <button
              type="button" aria-label="Previous page" disabled={zoom.page === 0} onMouseDown={keepFocus}
              onClick={() => zoom.turn(-1)}
            >
              ‹
            </button>
            <span>page {count(zoom.page + 1)} of {count(pages)}</span>
            <button
              type="button" aria-label="Next page" disabled={zoom.page === pages - 1} onMouseDown={keepFocus}
              onClick={() => zoom.turn(1)}
            >
              ›
            </button>
          </span>
        )}
        <button
          type="button" aria-pressed={open} data-testid="contrast" onMouseDown={keepFocus}
          onClick={() => model.app.set({ contrast: !open })}
        >
          {plain(look) ? "Contrast" : "Contrast: changed"}
        </button>
        <span class="row" role="group" aria-label="Zoom">
          <button
            type="button" aria-label="Smaller" disabled={times === 1} onMouseDown={keepFocus}
            onClick={() => zoom.by(-1)}
          >
            −
          </button>
          <span>{times === 1 ? "fits" : `${times} ×`}</span>
          <button
            type="button" aria-label="Larger" disabled={times === STEPS.at(-1)}
            onMouseDown={keepFocus} onClick={() => zoom.by(1)}
          >
            +
          </button>
        </span>
      </div>
    </>
  );
}
