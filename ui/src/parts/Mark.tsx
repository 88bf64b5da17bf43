import { LOOK_COLOURS, LOOKS, SLOTS } from "../logic/looks";
import { PLAIN, stampOf } from "../logic/raster";

const SIZE = 11;

/** A point of the map as it is drawn there, for the legend. */
export function Mark({ paint }: { paint: number }) {
  const stamp = stampOf(paint, SIZE);
  const half = (SIZE - 1) / 2;
  const path = (edge: 0 | 1) =>
    Array.from(stamp.dx, (dx, i) =>
      stamp.edge[i] === edge ? `M${dx + half} ${stamp.dy[i]! + half}h1v1h-1z` : "").join("");
  const colour = paint < LOOKS ? { fill: LOOK_COLOURS[paint % SLOTS]! } : {};
  const rim = paint < LOOKS ? { fill: `color-mix(in srgb, ${LOOK_COLOURS[paint % SLOTS]!} 55%, var(--text))` } : {};
  return (
    <svg class={`mark ${paint < LOOKS ? "" : paint === PLAIN ? "plain" : "none"}`} width={SIZE} height={SIZE} viewBox={`0 0 ${SIZE} ${SIZE}`} aria-hidden="true" shape-rendering="crispEdges">
      <path d={path(0)} style={colour} />
      <path d={path(1)} style={rim} />
    </svg>
  );
}
