import type { ClassInfo } from "../api.types";
import { nameOf } from "../logic/keys";
import { lookClass, lookName } from "../logic/looks";

/** Key, colour and pattern of a class; its name stands beside it. */
export function Chip({ of }: { of: Pick<ClassInfo, "key" | "look" | "name"> }) {
  const plain = of.look < 0 || of.look > 20;
  return (
    <span class={`chip ${plain ? "plain" : lookClass(of.look)}`} title={lookName(of.look)}>
      <span class="chip-key">{of.key === null ? "/" : nameOf(of.key)}</span>
      {!plain && <span class="swatch" />}
    </span>
  );
}
