import { useState } from "preact/hooks";
import type { ExportDone } from "../api.types";
import { api, Refused } from "../app/api";
import { useApp, useModel } from "../app/context";
import { shown } from "../logic/names";
import { count } from "../logic/texts";

/** Writes the labels as files that other programs read. */
export function Export() {
  const model = useModel();
  const folder = useApp((app) => app.state?.project.folder ?? "");
  const readOnly = useApp((app) => app.state?.project.read_only ?? false);
  const place = useApp((app) => app.state?.project.place ?? "");
  const waiting = useApp((app) => app.status.waiting);
  useApp((app) => app.state?.counts);
  const [formats, setFormats] = useState<readonly ("csv" | "jsonl")[]>(["csv"]);
  const [states, setStates] = useState(true);
  const [open, setOpen] = useState(false);
  const [where, setWhere] = useState<"pictures" | "project">(readOnly ? "project" : "pictures");
  const [busy, setBusy] = useState(false);
  const [done, setDone] = useState<ExportDone | null>(null);
  const counts = model.counts;
  const toggle = (format: "csv" | "jsonl") =>
    setFormats((now) => (now.includes(format) ? now.filter((f) => f !== format) : [...now, format]));
  const submit = async () => {
    setBusy(true);
    try {
      setDone(await api.export({ formats: [...formats], where, states, open }));
    } catch (error) {
      setDone(null);
      model.tell(error instanceof Refused ? error.message : "handful is not running. Nothing was written.", "careful");
    } finally {
      setBusy(false);
    }
  };
  return (
    <main class="scrolls" tabIndex={0}>
      <div class="sheet">
        <header>
          <h1>Export</h1>
          {counts && <p class="dim">{count(counts.pictures - counts.open)} of {count(counts.pictures)} pictures are answered.</p>}
        </header>
        <form
          class="export-form"
          onSubmit={(event) => {
            event.preventDefault();
            if (formats.length && !busy) void submit();
          }}
        >
          <fieldset>
            <legend>Format</legend>
            <label class="choice">
              <input type="checkbox" checked={formats.includes("csv")} onChange={() => toggle("csv")} /> CSV
            </label>
            <label class="choice">
              <input type="checkbox" checked={formats.includes("jsonl")} onChange={() => toggle("jsonl")} /> JSON Lines
            </label>
          </fieldset>
          <fieldset>
            <legend>Include</legend>
            <label class="choice">
              <input type="checkbox" checked={states} onChange={() => setStates(!states)} />
              unsure, none, broken, later as states
            </label>
            <label class="choice">
              <input type="checkbox" checked={open} onChange={() => setOpen(!open)} /> open as empty rows
            </label>
          </fieldset>
          <fieldset>
            <legend>Where</legend>
            <div class="choices">
            <label class="choice">
              <input
                type="radio" name="where" checked={where === "pictures"} disabled={readOnly}
                onChange={() => setWhere("pictures")}
              />
              next to the pictures: {shown(folder)}/handful-export/
            </label>
            <label class="choice">
              <input type="radio" name="where" checked={where === "project"} onChange={() => setWhere("project")} />
              where the work is kept: {shown(place)}
            </label>
            </div>
          </fieldset>
          {readOnly && <p class="dim">This folder is read-only. Your work is stored in {shown(place)}. The pictures are never changed anyway.</p>}
          {waiting > 0 && <p class="careful">{count(waiting)} answers are not stored yet and would be missing.</p>}
          <div>
            <button type="submit" class="main" disabled={formats.length === 0 || busy}>
              {busy ? "Writing..." : "Export"}
            </button>
          </div>
        </form>
        {done && (
          <p class="written" data-testid="export-done" role="status">
            Written to {shown(done.folder)}:{" "}
            {Object.entries(done.files).map(([file, rows]) => `${shown(file)} (${count(rows)} rows)`).join(", ")}.
          </p>
        )}
      </div>
    </main>
  );
}
