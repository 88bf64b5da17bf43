import type { Likely as Suggested } from "../api.types";
import { useModel } from "../app/context";
import { shown } from "../logic/names";
import { Chip } from "./Chip";

/** The name of a suggestion; null where its class has gone. */
export function useNameOf(): (likely: Pick<Suggested, "class"> | null) => string | null {
  const model = useModel();
  return (likely) => {
    if (likely === null) return null;
    if (likely.class === null) return "none of these";
    return model.classes.find((c) => c.id === likely.class)?.name ?? null;
  };
}

/** A class as it is suggested: chip, name, how sure; the number on hover. */
export function LikelyName({ of, words }: { of: Suggested; words?: "brackets" | "comma" }) {
  const model = useModel();
  const owner = model.classes.find((c) => c.id === of.class);
  const sure = words === "comma" ? `, ${of.words}` : ` (${of.words})`;
  return (
    <span class="likely-name" title={`${(100 * of.p).toFixed(0)} %`}>
      {owner && <Chip of={owner} />}
      <span>{owner ? shown(owner.name) : "none of these"}{words && sure}</span>
    </span>
  );
}
