import { useRef } from "preact/hooks";
import type { ImportPreview } from "../api.types";
import type { Import } from "../app/carry";
import { usePart } from "../app/observable";
import { buttons, details } from "../logic/carry";
import { shortened, shown } from "../logic/names";
import { count, pictures } from "../logic/texts";

/** Labels from a file: dropped or chosen, looked at, then taken or not. */
export function ImportLabels({ coming, over }: { coming: Import; over: boolean }) {
  const { busy, preview, complaint, done } = usePart(coming.coming, (now) => now);
  const input = useRef<HTMLInputElement>(null);
  return (
    <section class="import" aria-labelledby="import-title">
      <h2 id="import-title">Import labels</h2>
      <div class={over ? "drop over" : "drop"} data-testid="import-drop">
        <span>
          Drop a CSV or{" "}
          <button type="button" disabled={busy !== ""} onClick={() => input.current?.click()}>choose</button>
        </span>
        <span class="dim">JSON Lines, Parquet, COCO and Label Studio files will do as well.</span>
        <input
          ref={input} type="file" class="said" tabIndex={-1} aria-label="A file of labels"
          accept=".csv,.tsv,.txt,.json,.jsonl,.ndjson,.parquet"
          onChange={(event) => {
            const file = event.currentTarget.files?.[0];
            event.currentTarget.value = "";
            if (file) void coming.take(file);
          }}
        />
        <button type="button" disabled={busy !== ""} onClick={() => void coming.look({})}>
          Use the folders that the pictures lie in
        </button>
      </div>
      <p role="status" class={complaint ? "careful" : ""}>{busy || shown(complaint) || done}</p>
      {preview && <Preview preview={preview} coming={coming} busy={busy !== ""} />}
    </section>
  );
}

function Preview({ preview, coming, busy }: { preview: ImportPreview; coming: Import; busy: boolean }) {
  const { all, fresh } = buttons(preview);
  const guesses = preview.guesses > 0;
  return (
    <div class="preview" data-testid="import-preview">
      <p class="dim">{shown(preview.file)}</p>
      <p><b>{preview.text}</b></p>
      {preview.left_out && <p class="careful">{preview.left_out}</p>}
      {details(preview).map((text) => <p class="dim" key={text}>{text}</p>)}
      {preview.new_classes.length > 0 && (
        <p>
          New classes:{" "}
          {preview.new_classes.map(({ name, pictures: n }) => `${shown(name)} (${count(n)})`).join(", ")}
        </p>
      )}
      <Listed title={`${pictures(preview.change)} would change`} n={preview.changes.length}>
        {preview.changes.map((c) => (
          <li key={c.id}>{shortened(c.name)}: {shown(c.now)} becomes {shown(c.then)}</li>
        ))}
      </Listed>
      <Listed title="Not found" n={preview.missing_names.length}>
        {preview.missing_names.map((name) => <li key={name}>{shown(name)}</li>)}
      </Listed>
      <Listed title="Given two classes" n={preview.conflict_names.length}>
        {preview.conflict_names.map((name) => <li key={name}>{shown(name)}</li>)}
      </Listed>
      <Listed title="Cannot be used" n={preview.faults.length}>
        {preview.faults.map((fault) => (
          <li key={`${fault.row} ${fault.text}`}>{fault.row > 0 && `row ${count(fault.row)}: `}{shown(fault.text)}</li>
        ))}
      </Listed>
      {!all && <p>There is nothing to import.</p>}
      <div class="go">
        {all && (
          <button type="button" class="main" data-testid="btn-import" disabled={busy} onClick={() => void coming.apply(false)}>
            {all}
          </button>
        )}
        {fresh && (
          <button type="button" data-testid="btn-import-new" disabled={busy} onClick={() => void coming.apply(true)}>
            {fresh}
          </button>
        )}
        {guesses && (
          <button type="button" disabled={busy} onClick={() => void coming.guesses()}>
            Take the model's {count(preview.guesses)}, too
          </button>
        )}
        <button type="button" class="quiet" onClick={() => coming.forget()}>Cancel</button>
      </div>
    </div>
  );
}

function Listed({ title, n, children }: { title: string; n: number; children: preact.ComponentChildren }) {
  if (n === 0) return null;
  return (
    <details>
      <summary>{title}</summary>
      <ul>{children}</ul>
    </details>
  );
}
