import { useEffect, useState } from "preact/hooks";
import type { Values } from "../api.types";
import { api } from "../app/api";
import { useApp, useModel } from "../app/context";
import { AS_IT_COMES, moved, plain, stepOf, type Look } from "../logic/look";
import { count } from "../logic/texts";
import { keepFocus } from "./ClassColumn";

/** Black and white of what is shown, for all pictures until it is set back. */
export function Contrast({ picture, page }: { picture: { id: string }; page: number }) {
  const model = useModel();
  const look = useApp((app) => app.look);
  const [values, setValues] = useState<Values | null>(null);
  useEffect(() => {
    let over = false;
    api.values(picture.id, page, look.channel).then((found) => !over && setValues(found), () => undefined);
    return () => {
      over = true;
    };
  }, [picture.id, page, look.channel]);
  const set = (what: Partial<Look>) => model.app.set({ look: { ...look, ...what } });
  if (values === null) return <div class="contrast" role="group" aria-label="Contrast" aria-busy="true" />;

  const { least, most, bits } = values;
  const auto = look.low === null && (look.auto ?? bits > 8);
  const whole = bits > 8 ? { low: least, high: most } : { low: 0, high: 255 };
  const ends = look.low !== null && look.high !== null
    ? { low: look.low, high: look.high }
    : auto && values.low < values.high ? { low: values.low, high: values.high } : whole;
  const from = Math.min(whole.low, ends.low), to = Math.max(whole.high, ends.high);
  const step = stepOf(from, to);
  const slide = (end: "low" | "high", name: string) => (
    <label>
      {name}{" "}
      <input
        type="range" min={from} max={to} step={step} value={ends[end]} data-testid={`contrast-${end}`}
        onInput={(e) => set(moved(ends, end, Number(e.currentTarget.value), step))}
      />
      <output>{number(ends[end])}</output>
    </label>
  );
  return (
    <div class="contrast" role="group" aria-label="Contrast">
      {slide("low", "Black")}
      {slide("high", "White")}
      <button
        type="button" aria-pressed={auto} onMouseDown={keepFocus}
        onClick={() => set({ low: null, high: null, auto: true })}
      >
        Automatic
      </button>
      <button
        type="button" aria-pressed={look.low === null && !auto} onMouseDown={keepFocus}
        onClick={() => set({ low: null, high: null, auto: false })}
      >
        As stored
      </button>
      <label>
        <input type="checkbox" checked={look.invert} onChange={() => set({ invert: !look.invert })} /> Inverted
      </label>
      {values.channels > 1 && (
        <label>
          Channel{" "}
          <select
            value={look.channel ?? -1}
            onChange={(e) => {
              const channel = Number(e.currentTarget.value);
              set({ channel: channel < 0 ? null : channel, low: null, high: null });
            }}
          >
            <option value={-1}>{values.channels === 3 ? "colours" : "as it comes"}</option>
            {Array.from({ length: values.channels }, (_, i) => <option key={i} value={i}>{count(i + 1)}</option>)}
          </select>
        </label>
      )}
      <button
        type="button" class="quiet" disabled={plain(look)} onMouseDown={keepFocus}
        onClick={() => model.app.set({ look: AS_IT_COMES })}
      >
        Set back
      </button>
      <p class="dim">
        {bits} bits a value, {number(least)} to {number(most)}.{" "}
        {auto && "Automatic leaves half a percent of the values at each end. "}
        Only what you see changes, for all pictures, until you set it back; files, suggestions and exports stay.
      </p>
    </div>
  );
}

function number(value: number): string {
  return Number.isInteger(value) ? count(value) : value.toPrecision(4);
}
