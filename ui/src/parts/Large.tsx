import { useEffect, useRef, useState } from "preact/hooks";
import type { Detail, Picture } from "../api.types";
import { api, full } from "../app/api";
import { useApp, useModel } from "../app/context";
import { shown } from "../logic/names";
import type { Standing } from "../logic/overlay";
import { count, STATE_WORDS } from "../logic/texts";
import { Chip } from "./Chip";

const SMALL = 160;

/** One picture of the grid, large; arrows and class keys go on working. */
export function Large({ picture, standing, at, total, onClose }: {
  picture: Picture;
  standing: Standing;
  at: number;
  total: number;
  onClose: () => void;
}) {
  const model = useModel();
  const look = useApp((app) => app.look);
  const [detail, setDetail] = useState<Detail | null>(null);
  const [fault, setFault] = useState(false);
  const button = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    let over = false;
    setDetail(null);
    setFault(false);
    api.image(picture.id).then((found) => !over && setDetail(found), () => undefined);
    return () => {
      over = true;
    };
  }, [picture.id]);
  useEffect(() => {
    const before = document.activeElement;
    button.current?.focus();
    return () => (before as HTMLElement | null)?.focus?.();
  }, []);
  const owner = model.classes.find((c) => c.id === standing.class);
  const small = Math.max(picture.w ?? 999, picture.h ?? 999) <= SMALL;
  const first = detail?.history[0];
  return (
    <div
      class="large" role="dialog" aria-modal="true" aria-label="Large view"
      onClick={(event) => event.target === event.currentTarget && onClose()}
    >
      <figure>
        {fault || picture.presence !== "here" ? (
          <p class="fault">{detail?.problem?.text ?? "This picture cannot be shown."}</p>
        ) : (
          <img
            key={picture.id} src={full(picture, false, look)} alt="" class={small ? "small" : ""}
            onError={() => setFault(true)}
          />
        )}
        <figcaption>
          <span>{count(at + 1)} of {count(total)}</span>
          {owner ? <span class="row"><Chip of={owner} /> {shown(owner.name)}</span> : <b>{STATE_WORDS[standing.state]}</b>}
          <span class="dim">{shown(picture.name)}</span>
          {picture.w && <span class="dim">{count(picture.w)} × {count(picture.h ?? 0)} pixels</span>}
          {first && <span class="dim">{shown(first.text)}</span>}
          <button ref={button} type="button" class="push" onClick={onClose}>Close <kbd>Esc</kbd></button>
        </figcaption>
      </figure>
    </div>
  );
}
