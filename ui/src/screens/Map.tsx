import { useEffect, useRef, useState } from "preact/hooks";
import type { Detail, Picture } from "../api.types";
import { api } from "../app/api";
import { useApp, useKeys, useModel } from "../app/context";
import { useFocused } from "../app/focused";
import { chartOf, paintOf, type Chart, type ColourBy, type Tool } from "../app/map";
import type { Reply, Subject } from "../app/model";
import { usePart } from "../app/observable";
import type { Surface } from "../app/surface";
import { chosen as chosenText, sampled } from "../logic/checks";
import { toward } from "../logic/plane";
import { about, count, MOST_AT_ONCE } from "../logic/texts";
import { ClassColumn } from "../parts/ClassColumn";
import { GuideBox } from "../parts/Guide";
import { Large } from "../parts/Large";
import { MapCard, MapLegend } from "../parts/MapOver";
import { MapStage } from "../parts/MapStage";
import { Mark } from "../parts/Mark";
import { PictureGrid } from "../parts/PictureGrid";

/** All pictures as points, alike ones near each other: a side road to whole regions at once. */
export function Map() {
  const part = useApp((app) => app.address.part);
  const model = useModel();
  const chart = chartOf(model);
  const newest = useApp((app) => app.state?.map_rev ?? 0);
  const learned = useApp((app) => app.state?.model_rev ?? 0);
  const reload = useApp((app) => app.reload);
  const overlay = useApp((app) => app.overlay);
  const classes = useApp((app) => app.state?.classes);
  const { rev, data } = usePart(chart.state, (all) => all);
  useEffect(() => {
    if (rev === 0) void chart.load(newest); // a newer one waits until it is asked for
  }, [newest, rev]);
  useEffect(() => {
    if (rev > 0) void chart.load(rev); // what the points are has changed, where they stand has not
  }, [learned, reload]);
  useEffect(() => chart.paint(), [overlay, classes]);
  if (!data) return <NotYet newest={newest} />;
  return part === "grid" ? <Selected chart={chart} /> : <Plane chart={chart} newest={newest} />;
}

function NotYet({ newest }: { newest: number }) {
  const task = useApp((app) => app.state?.tasks.find((t) => t.name === "map") ?? null);
  const when = task?.eta_s ? `in ${about(task.eta_s * 1000)}` : "in about 2 min";
  return (
    <main class="empty" aria-busy={newest > 0}>
      <h1 class="said">Map</h1>
      {newest === 0 && <p>The map is drawn after the groups, {when}.</p>}
      {newest === 0 && <a class="button" href="#/gallery">Go to the gallery</a>}
    </main>
  );
}

const TOOLS: readonly [Tool, string][] = [["lasso", "lasso"], ["corners", "two corners"], ["move", "move the map"]];
const COLOURS: readonly [ColourBy, string][] = [["class", "class"], ["open", "open or not"], ["sure", "how sure"]];
const PORTION = 200; // pictures of a selection that are asked for at a time
const NEAR = [1, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000];

function Plane({ chart, newest }: { chart: Chart; newest: number }) {
  const model = useModel();
  const { data, chosen, focus, colourBy, tool, pictures, rev, version } = usePart(chart.state, (all) => all);
  const total = chart.now.data!.total;
  const [near, setNear] = useState(50);
  const [large, setLarge] = useState<Detail | null>(null);
  const [hovered, setHovered] = useState(-1);
  const stage = useRef<Surface>(null);
  const n = data!.points.n;

  useFocused(() => {
    const points = chosen > 0 ? chart.points.slice(0, 1000) : focus >= 0 ? [focus] : [];
    return { ids: points.flatMap((i) => chart.idOf(i) ?? []), class: chosen > 0 ? null : focus >= 0 ? chart.standing(focus).class : null };
  });
  const reply = async (given: Reply) => {
    const points = chosen > 0 ? chart.points : focus >= 0 ? [focus] : [];
    if (points.length === 0) return model.tell("Select points first, or go to one with the arrow keys.", "careful");
    const subjects: Subject[] = await chart.subjects(points);
    if (model.decide(subjects, given, "map")) chart.choose([]);
  };
  const focusOn = (point: number) => {
    if (point < 0) return;
    chart.state.set({ focus: point, version: chart.now.version + 1 });
    stage.current?.reveal(point);
  };
  const nearer = (by: 1 | -1) => {
    if (focus < 0) return model.tell("Go to a point with the arrow keys first.", "careful");
    const at = NEAR.findIndex((k) => k >= Math.max(1, chosen));
    const k = NEAR[Math.max(0, Math.min(NEAR.length - 1, (at < 0 ? 0 : at) + (chosen === 0 ? 1 : by)))]!;
    setNear(k);
    chart.near(k);
  };
  const enlarge = async () => {
    const id = focus >= 0 ? chart.idOf(focus) : null;
    if (large) return setLarge(null);
    if (id !== null) setLarge(await api.image(id));
  };
  const open = () => {
    if (chosen === 0) return model.tell("Nothing is selected.", "careful");
    model.visit({ screen: "map", part: "grid" });
  };

  useKeys((meaning) => {
    if ("classId" in meaning) void reply({ class: meaning.classId });
    else if ("move" in meaning) {
      const { move } = meaning;
      if (move === "shift+up" || move === "shift+right") nearer(1);
      else if (move === "shift+down" || move === "shift+left") nearer(-1);
      else if (move === "home") stage.current?.showWhole();
      else if (["left", "right", "up", "down"].includes(move)) {
        focusOn(focus < 0 ? (stage.current?.middle ?? -1) : toward(data!.points, focus, move));
      } else return false;
    } else if (meaning.command === "select") chart.toggle(focus);
    else if (meaning.command === "open-grid") open();
    else if (meaning.command === "all") chart.choose((stage.current?.inView ?? []).slice(0, MOST_AT_ONCE));
    else if (meaning.command === "larger") stage.current?.zoom(1.5);
    else if (meaning.command === "smaller") stage.current?.zoom(1 / 1.5);
    else if (meaning.command === "large-point") void enlarge();
    else if (meaning.command === "later-selected") void reply({ state: "later" });
    else if (["unsure", "none", "broken"].includes(meaning.command)) void reply({ state: meaning.command });
    else if (meaning.command === "clear") void reply({ state: "open" });
    else if (meaning.command === "close" && large) setLarge(null);
    else if (meaning.command === "close" && (stage.current?.drop() || chosen > 0)) chart.choose(chosen > 0 ? [] : chart.points);
    else return false;
    return true;
  });

  const shownPoint = hovered >= 0 ? hovered : focus;
  return (
    <main class="map">
      <h1 class="said">Map</h1>
      <ClassColumn
        place="map" idle={chosen === 0} onReply={(given) => void reply(given)}
        mark={(c) => colourBy === "class" && <Mark paint={paintOf(c)} />}
      />
      <div class="map-tools filters">
        <fieldset class="radios">
          <legend>select</legend>
          {TOOLS.map(([id, text]) => (
            <label key={id} class="choice">
              <input type="radio" name="tool" checked={tool === id} onChange={() => chart.state.set({ tool: id })} /> {text}
            </label>
          ))}
        </fieldset>
        <fieldset class="radios">
          <legend>colour by</legend>
          {COLOURS.map(([id, text]) => (
            <label key={id} class="choice">
              <input type="radio" name="colour" checked={colourBy === id} onChange={() => chart.colour(id)} /> {text}
            </label>
          ))}
        </fieldset>
        <label class="choice">
          <input type="checkbox" checked={pictures} onChange={() => chart.state.set({ pictures: !pictures })} /> pictures
        </label>
        {newest > rev && (
          <button type="button" class="main push" onClick={() => void chart.load(newest)}>A newer map is ready. Show it</button>
        )}
      </div>
      <MapStage
        chart={chart} handle={stage} tool={tool} version={version}
        hears={{
          hover: setHovered,
          pick: (point, more) => {
            focusOn(point);
            chart.choose([point], chart.mask[point] ? "less" : more || chosen > 0 ? "more" : "only");
          },
        }}
      >
        <MapLegend by={colourBy} />
        {shownPoint >= 0 && <MapCard chart={chart} point={shownPoint} />}
        <p class="map-note">
          Near means alike. Distances between far islands mean nothing.
          {n < total && ` ${sampled(total, n)}`}
        </p>
      </MapStage>
      <div class="act map-act">
        <b data-testid="map-chosen">{chosenText(chosen)}</b>
        <button type="button" class={chosen > 0 ? "main" : ""} disabled={chosen === 0} onClick={open}>
          Open as grid <kbd>Enter</kbd>
        </button>
        {chosen > MOST_AT_ONCE
          ? <span class="careful">One answer holds {count(MOST_AT_ONCE)}.</span>
          : chosen > 0 && <span class="dim">A class key labels them.</span>}
        <span class="row push">
          <button type="button" disabled={focus < 0} onClick={() => chart.near(near)}>
            The {count(near)} near the focused point <kbd>Shift+Up</kbd>
          </button>
        </span>
        <span class="row" role="group" aria-label="Zoom">
          <button type="button" aria-label="Farther" onClick={() => stage.current?.zoom(1 / 1.5)}>−</button>
          <button type="button" onClick={() => stage.current?.showWhole()}>whole map</button>
          <button type="button" aria-label="Nearer" onClick={() => stage.current?.zoom(1.5)}>+</button>
        </span>
      </div>
      <GuideBox floating about={focus >= 0 ? chart.standing(focus).class : null} />
      {large && (
        <Large
          picture={large.picture} standing={chart.standing(focus)} at={focus} total={n}
          onClose={() => setLarge(null)}
        />
      )}
    </main>
  );
}

// ------------------------------------------------------------------ the selection as a grid

function Selected({ chart }: { chart: Chart }) {
  const model = useModel();
  const [items, setItems] = useState<readonly Picture[]>([]);
  const [ids, setIds] = useState<readonly string[] | null>(null);
  const loading = useRef<Promise<void>>(Promise.resolve());
  const asked = useRef(0);
  const { chosen } = usePart(chart.state, (all) => all);
  useEffect(() => {
    void chart.subjects(chart.points).then((subjects) => setIds(subjects.map((s) => s.id)));
  }, []);
  const until = (n: number): Promise<void> => {
    while (ids && asked.current < Math.min(n, ids.length)) {
      const some = ids.slice(asked.current, asked.current + PORTION);
      asked.current += some.length;
      const load = async () => {
        const { items: found } = await api.images({ ids: some }, "name", null, PORTION);
        setItems((before) => [...before, ...found]);
      };
      loading.current = loading.current.then(load).catch((error) => model.refuse(error));
    }
    return loading.current;
  };
  const back = () => model.visit({ screen: "map" });
  const total = ids?.length ?? 0;
  return (
    <PictureGrid
      title="Selected on the map" from="map" of="map" items={items} total={total} until={until} onClose={back}
      top={
        <div class="filters">
          <button type="button" onClick={back}>Back to the map <kbd>Esc</kbd></button>
          <b>{chosenText(chosen)} on the map</b>
        </div>
      }
      empty={ids?.length === 0 ? <div class="empty"><p>Nothing is selected.</p></div> : null}
    />
  );
}
