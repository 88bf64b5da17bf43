import { useState } from "preact/hooks";
import { useApp, useModel } from "../app/context";
import { MAC } from "../app/keyboard";
import { TILE_SIZES } from "../logic/grid";
import { chordOf, COMMANDS, conflictOf, keysOf, nameOf, type Command } from "../logic/keys";
import { shown } from "../logic/names";
import { count } from "../logic/texts";
import { Chip } from "../parts/Chip";

const PLACES: Record<string, string> = {
  gallery: "Gallery", queue: "Queue", pictures: "Pictures", audit: "Audit", review: "Review", map: "Map", find: "Find",
  classes: "Classes", other: "other",
};

/** Every key in force, how to change it, and the few things that can be set. */
export function Keys() {
  const model = useModel();
  const bindings = useApp((app) => app.settings.bindings);
  useApp((app) => app.state?.classes);
  const changed = Object.keys(bindings.own).length > 0;
  return (
    <main class="scrolls" tabIndex={0}>
      <div class="sheet">
        <header>
          <h1>Keys and settings</h1>
          {changed && (
            <button type="button" class="push" onClick={() => model.set({ bindings: { ...bindings, own: {} } })}>
              All back to default
            </button>
          )}
        </header>
        <Settings />
        <table class="keys-table">
          <thead>
            <tr><th scope="col">command</th><th scope="col">where</th><th scope="col">key</th><th scope="col"><span class="said">change</span></th></tr>
          </thead>
          <tbody>
            {COMMANDS.map((command) => <Row key={command.id} command={command} />)}
            {model.classes.map((c) => (
              <tr key={`class-${c.id}`}>
                <td>Label: {shown(c.name)}</td>
                <td class="dim">wherever pictures are</td>
                <td><Chip of={c} /></td>
                <td class="number"><a href="#/classes">Classes</a></td>
              </tr>
            ))}
          </tbody>
        </table>
        <p class="dim">
          New classes take 1 to 9 and 0, then Q W E R T A S D F Z X C V B. Arrows, Home, End, PgUp and PgDn
          move in the grid; with Shift they select.
        </p>
      </div>
    </main>
  );
}

function Row({ command }: { command: Command }) {
  const model = useModel();
  const bindings = useApp((app) => app.settings.bindings);
  const [asking, setAsking] = useState(false);
  const [why, setWhy] = useState<string | null>(null);
  const own = bindings.own[command.id];
  const places = command.places === "everywhere" ? "everywhere" : command.places.map((p) => PLACES[p]).join(", ");
  const stop = () => {
    setAsking(false);
    setWhy(null);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (!asking || event.key === "Tab") return;
    event.preventDefault();
    event.stopPropagation();
    const chord = chordOf(event, { mac: MAC });
    if (chord === null) return;
    if (chord === "esc" && command.id !== "close") return stop();
    const conflict = conflictOf(chord, command.id, model.classes, bindings);
    if (conflict) return setWhy(conflict);
    model.set({ bindings: { ...bindings, own: { ...bindings.own, [command.id]: [chord] } } });
    stop();
  };
  const reset = () => {
    const { [command.id]: _, ...rest } = bindings.own;
    model.set({ bindings: { ...bindings, own: rest } });
  };
  return (
    <tr class={own ? "changed" : ""} data-command={command.id}>
      <td>{command.text}</td>
      <td class="dim">{places}</td>
      <td>
        {keysOf(command, bindings).map((chord) => <kbd key={chord}>{nameOf(chord, { mac: MAC })}</kbd>)}
        {why && <p class="careful" role="alert">{why}</p>}
      </td>
      <td class="number">
        <button
          type="button" class={asking ? "press" : ""} onKeyDown={onKeyDown} onBlur={stop}
          aria-label={asking ? "Press the new key" : `Change the key of ${command.text}`}
          onClick={() => setAsking(true)}
        >
          {asking ? "Press the new key" : "Change"}
        </button>
        {own && <button type="button" class="quiet" onClick={reset}>Back to default</button>}
      </td>
    </tr>
  );
}

function Settings() {
  const model = useModel();
  const settings = useApp((app) => app.settings);
  const state = useApp((app) => app.state);
  const { bindings } = settings;
  return (
    <dl class="settings">
      <dt>Single-key shortcuts</dt>
      <dd>
        <label class="choice">
          <input
            type="checkbox" role="switch" checked={bindings.single}
            onChange={() => model.set({ bindings: { ...bindings, single: !bindings.single } })}
          />
          {bindings.single ? "on" : "off: only keys with Ctrl, and those that write nothing, act"}
        </label>
      </dd>
      <dt>Text</dt>
      <dd>
        <select aria-label="Text size" value={settings.text} onChange={(e) => model.set({ text: e.currentTarget.value as "normal" | "large" })}>
          <option value="normal">normal</option>
          <option value="large">large</option>
        </select>
      </dd>
      <dt>Tiles</dt>
      <dd>
        <select aria-label="Tile size" value={settings.tile} onChange={(e) => model.set({ tile: Number(e.currentTarget.value) })}>
          {TILE_SIZES.map((size, i) => <option key={size} value={size}>{["small", "medium", "large"][i]}</option>)}
        </select>
      </dd>
      <dt>Sent to other computers</dt>
      <dd>{count(elsewhere())} requests. The browser allows this page to talk to no other computer.</dd>
      <dt>Your work is kept in</dt>
      <dd>{shown(state?.project.place ?? "")}</dd>
      <dt>Version</dt>
      <dd>{shown(state?.project.version ?? "")}</dd>
    </dl>
  );
}

/** Requests of this page that went anywhere but to its own server; the browser counts them. */
function elsewhere(): number {
  return performance
    .getEntriesByType("resource")
    .filter((entry) => !entry.name.startsWith(location.origin) && !entry.name.startsWith("blob:")).length;
}
