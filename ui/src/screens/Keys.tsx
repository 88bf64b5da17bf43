import { useEffect, useRef, useState } from "preact/hooks";
import { api, complaint } from "../app/api";
import { useApp, useModel } from "../app/context";
import { MAC } from "../app/keyboard";
import { shareOf } from "../logic/checks";
import { TILE_SIZES } from "../logic/grid";
import { chordOf, COMMANDS, conflictOf, keysOf, nameOf, type Command } from "../logic/keys";
import { shown } from "../logic/names";
import { count } from "../logic/texts";
import { Chip } from "../parts/Chip";

const PLACES: Record<string, string> = {
  gallery: "Gallery", queue: "Queue", pictures: "any grid", audit: "Audit", review: "Review", map: "Map",
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
      <Shared />
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

const FEATURES: Record<string, string> = {
  auto: "chosen for these pictures", pixels: "their pixels", autoencoder: "what is learnt from these pictures",
  lite0: "a network for photos", lite1: "a larger network for photos",
};

/** What is kept with the work and not with the browser; each change can be undone. */
function Shared() {
  const model = useModel();
  const settings = useApp((app) => app.state?.settings ?? null);
  const features = useApp((app) => app.state?.features ?? null);
  if (!settings) return null;
  const change = async (what: { goal?: number; features?: string; person?: string }) => {
    try {
      await api.settings({ id: model.outbox.newId(), ...what });
      await model.refresh();
    } catch (error) {
      model.tell(complaint(error), "careful");
    }
  };
  return (
    <>
      <dt>Your name</dt>
      <dd>
        <Field
          label="Your name, for the history and the report" value={settings.person} longest={60}
          take={(text) => void change({ person: text.trim() })}
        />
        <span class="dim">stands in the history, the export and the report</span>
      </dd>
      <dt>Goal</dt>
      <dd>
        <Field
          label="Goal of the stop advice, in percent" value={String(Math.round(settings.goal * 1000) / 10)} longest={6}
          take={(text) => {
            const goal = shareOf(`${text.replace("%", "").trim()} %`);
            if (goal === null || goal < 0.5 || goal > 0.999) model.tell("The goal is from 50 to 99.9 %.", "careful");
            else void change({ goal });
          }}
        />
        <span>% of the labels right</span> <span class="dim">the advice in the line above says how far that is</span>
      </dd>
      <dt>Pictures are compared by</dt>
      <dd>
        <select aria-label="What pictures are compared by" value={settings.features} onChange={(e) => void change({ features: e.currentTarget.value })}>
          {settings.features_choices.map((id) => <option key={id} value={id}>{FEATURES[id] ?? id}</option>)}
        </select>
        {features && <span class="dim">now: {features.source}, {count(features.images)} pictures</span>}
      </dd>
    </>
  );
}

/** A line of text that is taken when one leaves it or presses Enter. */
function Field({ label, value, longest, take }: {
  label: string; value: string; longest: number; take: (text: string) => void;
}) {
  const [text, setText] = useState(value);
  const taken = useRef(value); // Enter, then leaving: one change
  useEffect(() => {
    taken.current = value;
    setText(value);
  }, [value]);
  const done = () => {
    if (text === taken.current) return;
    taken.current = text;
    take(text);
  };
  return (
    <input
      type="text" aria-label={label} value={text} maxLength={longest} size={Math.min(24, longest)}
      onInput={(e) => setText(e.currentTarget.value)} onBlur={done}
      onKeyDown={(event) => {
        if (event.key === "Enter") done();
        else if (event.key === "Escape") setText(value);
        else return;
        event.stopPropagation();
      }}
    />
  );
}

/** Requests of this page that went anywhere but to its own server; the browser counts them. */
function elsewhere(): number {
  return performance
    .getEntriesByType("resource")
    .filter((entry) => !entry.name.startsWith(location.origin) && !entry.name.startsWith("blob:")).length;
}
