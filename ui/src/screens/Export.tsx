import { useEffect, useMemo, useState } from "preact/hooks";
import type { ExportChoices, ExportDone } from "../api.types";
import { carrying, complaint } from "../app/api";
import { Import } from "../app/carry";
import { useApp, useModel } from "../app/context";
import { asked, size, type Chosen, type Format } from "../logic/carry";
import { shown } from "../logic/names";
import { count, pictures } from "../logic/texts";
import { ImportLabels } from "../parts/ImportLabels";

/** What leaves: labels, the model, a report, folders by class.  And labels that come in. */
export function Export() {
  const model = useModel();
  const rev = useApp((app) => app.state?.label_rev ?? 0);
  const counts = useApp((app) => app.state?.counts ?? null);
  const [choices, setChoices] = useState<ExportChoices | null>(null);
  const coming = useMemo(() => new Import(model), [model]);
  const [over, setOver] = useState(false);
  useEffect(() => {
    let left = false;
    carrying.choices().then((found) => !left && setChoices(found), () => undefined);
    return () => {
      left = true;
    };
  }, [rev]);
  return (
    <main
      class="scrolls" tabIndex={0}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={(event) => event.currentTarget === event.target && setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        const file = event.dataTransfer?.files[0];
        if (file) void coming.take(file);
      }}
    >
      <div class="sheet carry">
        <header>
          <h1>Export</h1>
          {counts && <p class="dim">{count(counts.pictures - counts.open)} of {pictures(counts.pictures)} have a label.</p>}
        </header>
        {choices ? <ExportForm choices={choices} /> : <p class="dim">Counting...</p>}
        <ImportLabels coming={coming} over={over} />
      </div>
    </main>
  );
}

function ExportForm({ choices }: { choices: ExportChoices }) {
  const model = useModel();
  const folder = useApp((app) => app.state?.project.folder ?? "");
  const readOnly = useApp((app) => app.state?.project.read_only ?? false);
  const kept = useApp((app) => app.state?.project.place ?? "");
  const waiting = useApp((app) => app.status.waiting);
  const [chosen, setChosen] = useState<Chosen>({
    labels: true, formats: ["csv"], where: readOnly ? "project" : "pictures", states: true, open: false,
    byModel: true, pictures: true, folders: false, how: "copies", place: choices.places[0]?.id ?? "",
    model: false, report: false, examples: false,
  });
  const [busy, setBusy] = useState(false);
  const [done, setDone] = useState<ExportDone | null>(null);
  const set = (change: Partial<Chosen>) => setChosen((now) => ({ ...now, ...change }));
  const options = asked(chosen);
  const submit = async () => {
    if (!options) return;
    setBusy(true);
    try {
      setDone(await carrying.export(options));
    } catch (error) {
      setDone(null);
      model.tell(complaint(error).replace("changed", "written"), "careful");
    } finally {
      setBusy(false);
    }
  };
  return (
    <form
      class="carry-form"
      onSubmit={(event) => {
        event.preventDefault();
        if (!busy) void submit();
      }}
    >
      <table class="carry-table">
        <thead>
          <tr><th scope="col">What</th><th scope="col">Format</th><th scope="col">Where</th></tr>
        </thead>
        <tbody>
          <LabelRow chosen={chosen} set={set} choices={choices}>
            <label class="choice">
              <input
                type="radio" name="where" checked={chosen.where === "pictures"} disabled={readOnly}
                onChange={() => set({ where: "pictures" })}
              />
              next to the pictures: {shown(folder)}/handful-export/
            </label>
            <label class="choice">
              <input
                type="radio" name="where" checked={chosen.where === "project"}
                onChange={() => set({ where: "project" })}
              />
              where the work is kept: {shown(kept)}
            </label>
          </LabelRow>
          <ModelRow chosen={chosen} set={set} choices={choices} />
          <FoldersRow chosen={chosen} set={set} choices={choices} />
        </tbody>
      </table>
      <IncludeRow chosen={chosen} set={set} choices={choices} />
      {readOnly && <p class="dim">This folder is read-only. Your work is stored in {shown(kept)}. The pictures are never changed anyway.</p>}
      {waiting > 0 && <p class="careful">{count(waiting)} answers are not stored yet and would be missing.</p>}
      <div class="go">
        <button type="submit" class="main" disabled={!options || busy}>{busy ? "Writing..." : "Export"}</button>
        {chosen.report && !choices.audited && <span class="dim">Not audited yet: the report will say so.</span>}
      </div>
      {done && <Written done={done} />}
    </form>
  );
}

interface Row {
  chosen: Chosen;
  set: (change: Partial<Chosen>) => void;
  choices: ExportChoices;
}

function LabelRow({ chosen, set, choices, children }: Row & { children: preact.ComponentChildren }) {
  const toggle = (format: Format) => {
    const { formats } = chosen;
    const now = formats.includes(format) ? formats.filter((f) => f !== format) : [...formats, format];
    set({ formats: now, labels: now.length > 0 });
  };
  return (
    <tr>
      <th scope="row">
        <label class="choice">
          <input
            type="checkbox" checked={chosen.labels}
            onChange={() => set({ labels: !chosen.labels, ...(chosen.formats.length ? {} : { formats: ["csv"] }) })}
          />
          labels
        </label>
      </th>
      <td>
        <div class="choices across">
          {choices.formats.map((form) => (
            <label class="choice" key={form.id}>
              <input
                type="checkbox" checked={chosen.formats.includes(form.id)} disabled={!chosen.labels}
                onChange={() => toggle(form.id)}
              />
              {form.text}
            </label>
          ))}
        </div>
        {chosen.labels && chosen.formats.includes("parquet") && (
          <label class="choice under">
            <input type="checkbox" checked={chosen.pictures} onChange={() => set({ pictures: !chosen.pictures })} />
            the pictures themselves in the Parquet file
          </label>
        )}
      </td>
      <td rowSpan={3}><div class="choices">{children}</div></td>
    </tr>
  );
}

function ModelRow({ chosen, set, choices: { model } }: Row) {
  return (
    <>
      <tr>
        <th scope="row">
          <label class="choice">
            <input
              type="checkbox" checked={chosen.model} disabled={!model}
              onChange={() => set({ model: !chosen.model })}
            />
            model
          </label>
        </th>
        <td class={model ? "" : "dim"}>{model ? `one file, ${size(model.bytes)}` : "there is none yet: answer a few more pictures"}</td>
      </tr>
      <tr>
        <th scope="row">
          <label class="choice">
            <input type="checkbox" checked={chosen.report} onChange={() => set({ report: !chosen.report })} />
            report
          </label>
        </th>
        <td>
          <div class="inline">
            <span>HTML,</span>
            <label class="choice">
              <input
                type="checkbox" checked={chosen.examples} disabled={!chosen.report}
                onChange={() => set({ examples: !chosen.examples })}
              />
              with example pictures
            </label>
          </div>
        </td>
      </tr>
    </>
  );
}

function FoldersRow({ chosen, set, choices: { places } }: Row) {
  return (
    <tr>
      <th scope="row">
        <label class="choice">
          <input
            type="checkbox" checked={chosen.folders} disabled={places.length === 0}
            onChange={() => set({ folders: !chosen.folders })}
          />
          folders by class
        </label>
      </th>
      <td>
        <div class="choices across">
          {(["copies", "links"] as const).map((how) => (
            <label class="choice" key={how}>
              <input
                type="radio" name="how" checked={chosen.how === how} disabled={!chosen.folders}
                onChange={() => set({ how })}
              />
              {how}
            </label>
          ))}
        </div>
      </td>
      <td>
        <select
          aria-label="Where folders by class go" value={chosen.place} disabled={!chosen.folders}
          onChange={(event) => set({ place: event.currentTarget.value })}
        >
          {places.map(({ id, text }) => <option key={id} value={id}>{shown(text)}</option>)}
        </select>
      </td>
    </tr>
  );
}

function IncludeRow({ chosen, set, choices }: Row) {
  const n = (of: number) => (of ? `: ${count(of)}` : "");
  return (
    <fieldset class="include">
      <legend>Include</legend>
      <label class="choice">
        <input type="checkbox" checked={chosen.byModel} onChange={() => set({ byModel: !chosen.byModel })} />
        labels by the model (source column says so){n(choices.by_model)}
      </label>
      <label class="choice">
        <input type="checkbox" checked={chosen.states} onChange={() => set({ states: !chosen.states })} />
        unsure, none, broken as states{n(choices.states)}
      </label>
      <label class="choice">
        <input type="checkbox" checked={chosen.open} onChange={() => set({ open: !chosen.open })} />
        open as empty rows{n(choices.open)}
      </label>
    </fieldset>
  );
}

function Written({ done }: { done: ExportDone }) {
  const [said, setSaid] = useState("");
  const show = async () => {
    const { shown: opened } = await carrying.show().catch(() => ({ shown: false }));
    setSaid(opened ? "" : `It is here: ${shown(done.folder || (done.by_class?.folder ?? ""))}`);
  };
  const copy = async () => {
    if (!done.command) return;
    await navigator.clipboard.writeText(done.command).then(() => setSaid("Copied."), () => setSaid(done.command ?? ""));
  };
  return (
    <div class="written">
      <p data-testid="export-done" role="status">{shown(done.text)}</p>
      {done.by_class && done.by_class.left_out > 0 && (
        <p class="dim">{pictures(done.by_class.left_out)} without a class, or gone: only in its labels.csv.</p>
      )}
      <div class="go">
        <button type="button" onClick={() => void show()}>Show folder</button>
        {done.command && <button type="button" onClick={() => void copy()}>Copy command for a new folder</button>}
        <span class="dim" role="status">{said}</span>
      </div>
    </div>
  );
}
