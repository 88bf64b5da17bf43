import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { useApp } from "../app/context";
import type { Chart, Tool } from "../app/map";
import { Surface, type Hears } from "../app/surface";
import { LOOK_COLOURS, SLOTS } from "../logic/looks";
import { mixed, OPEN, PAINTS, pixel, PLAIN, type Palette } from "../logic/raster";
import { MapThumbs } from "./MapOver";

const OUTLINE = 0.45; // of the way to the colour of text: yellow shows on white, blue on black

/** The map itself; what lies over it comes as children. */
export function MapStage({ chart, handle, tool, version, hears, children }: {
  chart: Chart;
  handle: { current: Surface | null };
  tool: Tool;
  version: number;
  hears: Omit<Hears, "rest">;
  children: ComponentChildren;
}) {
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [rest, setRest] = useState(0); // counts the times that the view has come to rest
  const latest = useRef(hears);
  latest.current = hears;
  const surface = (handle.current ??= new Surface(chart, () => (
    { ...latest.current, rest: () => setRest((k) => k + 1) }
  )));
  const palette = usePalette();
  surface.palette = palette;
  surface.tool = tool;

  useLayoutEffect(() => {
    const element = (surface.canvas = canvas.current!);
    const watch = new ResizeObserver(([entry]) => {
      if (entry) surface.resized(entry.contentRect.width, entry.contentRect.height);
    });
    const onWheel = (event: WheelEvent) => surface.wheel(event);
    watch.observe(box.current!);
    element.addEventListener("wheel", onWheel, { passive: false });
    return () => {
      watch.disconnect();
      element.removeEventListener("wheel", onWheel);
    };
  }, []);
  useEffect(() => surface.renewed(), [version, palette]);
  useLayoutEffect(() => void surface.drop(), [tool]); // before a hand can have begun with the new one

  return (
    <div
      class={`map-stage tool-${tool}`} ref={box} role="application" tabIndex={0}
      aria-label="Map of the pictures. Arrow keys go from point to point, Space selects, Shift with Up selects more of those near, Enter opens the selected as a grid."
    >
      <canvas
        ref={canvas} data-testid="map" onPointerDown={(event) => surface.down(event)}
        onPointerMove={(event) => surface.move(event)} onPointerUp={(event) => surface.up(event)}
        onPointerCancel={(event) => surface.up(event)} onPointerLeave={() => hears.hover(-1)}
        onContextMenu={(event) => event.preventDefault()}
      />
      {chart.now.pictures && <MapThumbs key={rest} chart={chart} surface={surface} />}
      {children}
    </div>
  );
}

/** Colours of the theme in force, as pixels; taken anew when it changes. */
function usePalette(): Palette {
  const theme = useApp((app) => app.settings.theme);
  const [dark, setDark] = useState(() => matchMedia("(prefers-color-scheme: dark)").matches);
  useEffect(() => {
    const query = matchMedia("(prefers-color-scheme: dark)");
    const change = () => setDark(query.matches);
    query.addEventListener("change", change);
    return () => query.removeEventListener("change", change);
  }, []);
  const key = `${theme} ${dark}`;
  const held = useRef<{ key: string; palette: Palette } | null>(null);
  if (held.current?.key !== key) {
    const style = getComputedStyle(document.documentElement);
    const token = (name: string) => pixel(style.getPropertyValue(name).trim());
    const fill = new Uint32Array(PAINTS);
    for (let paint = 0; paint < PAINTS; paint++) {
      fill[paint] = paint === OPEN ? token("--line") : paint === PLAIN ? token("--text-2") : pixel(LOOK_COLOURS[paint % SLOTS]!);
    }
    held.current = {
      key, palette: { fill, edge: fill.map((colour) => mixed(colour, token("--text"), OUTLINE)), chosen: token("--text"), focus: token("--accent") },
    };
  }
  return held.current.palette;
}
