import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { api } from "../app/api";
import { useApp, useModel } from "../app/context";
import { galleryOf } from "../app/gallery";
import { MAC } from "../app/keyboard";
import { usePart } from "../app/observable";
import type { Settings } from "../app/settings";
import type { Screen } from "../logic/address";
import { nameOf } from "../logic/keys";
import { shortened, shown } from "../logic/names";
import { current } from "../logic/queue";
import * as texts from "../logic/texts";
import { keepFocus } from "./ClassColumn";
import { AskName, Everybody } from "./Everybody";

const SCREENS: [Screen, string][] = [
  ["gallery", "Gallery"], ["queue", "Queue"], ["audit", "Audit"], ["review", "Review"], ["map", "Map"],
  ["pictures", "Pictures"], ["classes", "Classes"], ["export", "Export"],
];
const MOST_TASKS = 2; // in the status line; more would push the rest away
const PATIENCE = 1500; // ms without the server before the page says so

/** What stands around every screen: where one is, how far, and what undo would do. */
export function Frame({ children }: { children: ComponentChildren }) {
  return (
    <div class="frame">
      <TopBar />
      <div>
        <Counts />
        <Strips />
      </div>
      <div class="work">{children}</div>
      <StatusLine />
      <AskName />
    </div>
  );
}

function useConnected(): boolean {
  const model = useModel();
  useApp((app) => app.live);
  useApp((app) => app.status);
  const now = model.connected;
  const [connected, setConnected] = useState(true);
  useEffect(() => {
    if (now) return setConnected(true);
    const timer = setTimeout(() => setConnected(false), PATIENCE);
    return () => clearTimeout(timer);
  }, [now]);
  return connected;
}

function TopBar() {
  const model = useModel();
  const folder = useApp((app) => app.state?.project.folder ?? "");
  const n = useApp((app) => app.state?.counts.pictures ?? 0);
  const screen = useApp((app) => app.address.screen);
  const theme = useApp((app) => app.settings.theme);
  const waiting = useApp((app) => app.status.waiting);
  const connected = useConnected();
  return (
    <header class="top">
      <span class="brand">handful</span>
      <span class="folder" title={shown(folder)}>{shortened(folder, 40)}/ {texts.count(n)}</span>
      <nav aria-label="Screens">
        {SCREENS.map(([id, name]) => (
          <a key={id} href={`#/${id}`} aria-current={screen === id ? "page" : undefined}>{name}</a>
        ))}
      </nav>
      <span class="push" />
      <span class={`stored ${waiting > 0 || !connected ? "waits" : ""}`} data-testid="stored" role="status">
        {texts.storage(waiting, connected)}
      </span>
      <a class="button quiet" href="#/keys" aria-current={screen === "keys" ? "page" : undefined}>
        Keys&nbsp;<kbd>?</kbd>
      </a>
      <select
        aria-label="Theme" value={theme}
        onChange={(event) => model.set({ theme: event.currentTarget.value as Settings["theme"] })}
      >
        <option value="system">System</option>
        <option value="light">Light</option>
        <option value="dark">Dark</option>
      </select>
    </header>
  );
}

function Counts() {
  const model = useModel();
  useApp((app) => app.state);
  useApp((app) => app.waiting);
  useApp((app) => app.order);
  const blind = useApp((app) => app.address.screen === "audit");
  const several = useApp((app) => (app.state?.people ?? null) !== null);
  const counts = model.counts;
  if (!counts || blind) return null; // a blind answer knows nothing of how the classes stand
  const { by_you, in_groups, by_model, open, pictures } = counts;
  const share = (n: number) => ({ width: `${pictures ? (100 * n) / pictures : 0}%` });
  return (
    <section class="counts" aria-label="How far">
      <span class="bar" aria-hidden="true">
        <i class="by-you" style={share(by_you)} />
        <i class="by-group" style={share(in_groups)} />
        <i class="by-model" style={share(by_model)} />
      </span>
      <span data-testid="count-you"><b>{texts.count(by_you)}</b> by {several ? "hand" : "you"}</span>
      <span data-testid="count-group"><b>{texts.count(in_groups)}</b> in groups</span>
      <span data-testid="count-model"><b>{texts.count(by_model)}</b> by the model</span>
      <a href="#/pictures?state=open" data-testid="count-open"><b>{texts.count(open)}</b> open</a>
      {counts.missing > 0 && (
        <a href="#/pictures?missing=yes"><b>{texts.count(counts.missing)}</b> missing</a>
      )}
      <span class="push row">
        {model.paceText && <span>{model.paceText}</span>}
        <Everybody />
        <StopAdvice />
      </span>
    </section>
  );
}

function Strips() {
  const model = useModel();
  const state = useApp((app) => app.state);
  const started = useApp((app) => app.started);
  const screen = useApp((app) => app.address.screen);
  const waiting = useApp((app) => app.status.waiting);
  const connected = useConnected();
  const [seen, setSeen] = useState<unknown>(null);
  if (!state) return null;
  const { scan, project } = state;
  const changes = rescanned(scan);
  return (
    <>
      {!connected && (
        <section class="strip careful-strip" aria-label="Connection">
          <p role="alert">{texts.disconnected(waiting)}</p>
        </section>
      )}
      {!state.storage.ok && (
        <div class="strip careful-strip" role="alert"><p>{state.storage.error?.text}</p></div>
      )}
      {state.first_visit && !started && screen === "queue" && state.counts.pictures > 0 && (
        <div class="strip" role="region" aria-label="Start">
          <p>
            {texts.found(state.counts.pictures, shown(project.folder))}
            {state.groups_rev === 0 && state.counts.pictures >= texts.FEWEST && ` ${texts.groupsAppear(groupsEta(state.tasks))}`}
          </p>
          {project.read_only && (
            <p>This folder is read-only. Your work is stored in {shown(project.place)}. The pictures are never changed anyway.</p>
          )}
          <span class="row push">
            <a class="button" href="#/export">I already have labels</a>
            <button type="button" class="main" onClick={() => model.begin()}>Start <kbd>Enter</kbd></button>
          </span>
        </div>
      )}
      {changes && !state.first_visit && seen !== changes && (
        <section class="strip" aria-label="What is new in the folder">
          <p>{changes}</p>
          <button type="button" class="push" onClick={() => setSeen(changes)}>Close</button>
        </section>
      )}
    </>
  );
}

/** What is different in the folder since last time, or null. */
function rescanned(scan: { added: number; missing: number; moved: number; changed: number; back: number }): string | null {
  const parts = ([
    [scan.added, "new"], [scan.missing, "missing, their labels are kept"],
    [scan.moved, "moved or renamed, their labels went along"], [scan.changed, "changed, and open again"],
    [scan.back, "back again"],
  ] as const).filter(([n]) => n > 0).map(([n, what]) => `${texts.count(n)} ${what}`);
  return parts.length ? `In the folder since last time: ${parts.join("; ")}.` : null;
}

function StatusLine() {
  const model = useModel();
  const state = useApp((app) => app.state);
  const note = useApp((app) => app.note);
  const said = useApp((app) => app.said);
  useApp((app) => app.waiting);
  const undo = model.undoText;
  const tasks = state?.tasks ?? [];
  const problems = state?.counts.problems ?? 0;
  return (
    <footer class="status">
      <span class="undo">
        {undo && (
          <button
            type="button" data-testid="undo-text" title={shown(undo)}
            onMouseDown={(event) => event.preventDefault()} onClick={() => model.undo()}
          >
            {texts.undoOffer(shown(undo), nameOf("ctrl+z", { mac: MAC }))}
          </button>
        )}
      </span>
      {note && <span class={`news ${note.kind}`} title={note.text}>{shown(note.text)}</span>}
      <Newer />
      <span class="right">
        {state?.trouble && <span class="careful">{shown(state.trouble)}</span>}
        {tasks.slice(0, MOST_TASKS).map((task, i) => (
          <span key={task.name} class={`task ${i > 0 ? "more" : ""}`} data-testid="task" data-task={task.name}>
            <progress value={task.done} max={Math.max(1, task.total)} aria-label={task.text} />
            {texts.task(task)}
          </span>
        ))}
        <a href="#/history">History</a>
        {problems > 0 && <a href="#/problems" data-testid="problems">{texts.problems(problems)}</a>}
      </span>
      <span class="said" aria-live="polite">{said}</span>
    </footer>
  );
}

/** Says that there is something newer than what is in view, and shows it only when asked. */
function Newer() {
  const model = useModel();
  const groups = galleryOf(model);
  const screen = useApp((app) => app.address.screen);
  const line = useApp((app) => app.line);
  const suggests = useApp((app) => (app.state?.model_rev ?? 0) > 0);
  const grouped = useApp((app) => (app.state?.groups_rev ?? 0) > 0);
  const newer = usePart(groups.view, (view) => view.newer);
  const seen = usePart(groups.view, (view) => view.rev > 0);
  const blind = current(line)?.blind ?? false;
  if (screen === "gallery" && newer) {
    return (
      <span class="newer" data-testid="newer">
        New suggestions are ready <button type="button" onMouseDown={keepFocus} onClick={() => groups.showNewer()}>Show them</button>
      </span>
    );
  }
  if (screen !== "queue") return null;
  if (suggests && blind) {
    return (
      <span class="newer" data-testid="newer">
        New suggestions are ready <button type="button" onMouseDown={keepFocus} onClick={() => void model.showNewer()}>Show them</button>
      </span>
    );
  }
  if (!grouped || seen) return null;
  return (
    <span class="newer" data-testid="newer">
      Groups are ready <a class="button" href="#/gallery">Go to the gallery <kbd>Shift+G</kbd></a>
    </span>
  );
}

/** Whether to stop, in two words; the sentence, its reason and the goal behind it. */
function StopAdvice() {
  const model = useModel();
  const advice = useApp((app) => app.state?.advice ?? null);
  if (!advice) return null;
  const setGoal = (percent: number) => {
    const goal = percent / 100;
    if (!(goal >= 0.5 && goal <= 0.999)) return model.tell("A goal is between 50 and 99.9 %.", "careful");
    const done = api.settings({ id: model.outbox.newId(), goal }).then(() => model.refresh());
    done.catch((error) => model.refuse(error));
  };
  return (
    <details class="advice" data-testid="advice" data-case={advice.case}>
      <summary>Stop advice: {texts.ADVICE[advice.case]}</summary>
      <div class="fold">
        <p>{shown(advice.text)}</p>
        <p class="row">
          <label>
            Goal: at least{" "}
            <input
              type="number" min="50" max="99.9" step="0.5" value={String(Math.round(advice.goal * 1000) / 10)}
              onChange={(event) => setGoal(Number(event.currentTarget.value))}
            />{" "}
            % right
          </label>
          <a class="button push" href={`#/${advice.screen}`}>{SCREEN_NAMES[advice.screen]}</a>
        </p>
        <p class="dim">It never stops anything by itself.</p>
      </div>
    </details>
  );
}

const SCREEN_NAMES: Record<string, string> = {
  gallery: "Go to the gallery", queue: "Go to the queue", audit: "Check the result (Audit)",
  review: "Look at likely mistakes", find: "Find more like this", export: "Export",
};

/** When groups will be there, as far as the tasks tell. */
function groupsEta(tasks: readonly { name: string; eta_s: number | null }[]): number | null {
  const of = tasks.find((task) => task.name === "groups") ?? tasks.find((task) => task.name === "features");
  return of?.eta_s ?? null;
}
