import { useEffect, useState } from "preact/hooks";
import type { AuditClass, ClassInfo, Picture, Seen } from "../api.types";
import { api, checks, thumbnail } from "../app/api";
import { useApp, useModel } from "../app/context";
import { MAC } from "../app/keyboard";
import type { Model } from "../app/model";
import { classKeyConflict, chordOf, nameOf, type Chord } from "../logic/keys";
import { LOOKS, lookClass, lookName } from "../logic/looks";
import { LONGEST_CLASS_NAME, sameName, shown, tidied } from "../logic/names";
import { count, pictures } from "../logic/texts";
import { Chip } from "../parts/Chip";
import { Dialog } from "../parts/Dialog";
import { Menu } from "../parts/Menu";

type Act = "rename" | "merge" | "guide" | "key" | "look" | "archive";
type Doing = { act: Act; of: ClassInfo } | null;

/** Every class with its key, look and counts, and what can be done with it. */
export function Classes() {
  const model = useModel();
  useApp((app) => app.state);
  useApp((app) => app.waiting);
  const [doing, setDoing] = useState<Doing>(null);
  const close = () => setDoing(null);
  const classes = model.classes.filter((c) => c.id >= 0);
  const right = useAuditByClass();
  const Form = doing && FORMS[doing.act];
  return (
    <main class="scrolls" tabIndex={0}>
      <div class="sheet">
        <header>
          <h1>Classes</h1>
          <NewClass model={model} />
        </header>
        {classes.length === 0 ? (
          <p>No classes yet. Type a name in the queue or press /.</p>
        ) : (
          <table class="class-table">
            <thead>
              <tr>
                <th scope="col">key, look</th>
                <th scope="col">name</th>
                <th scope="col" class="number">pictures</th>
                <th scope="col" class="number wide">by you</th>
                <th scope="col" class="number wide">in groups</th>
                <th scope="col" class="number wide">by the model</th>
                <th scope="col" class="number wide">right in audit</th>
                <th scope="col" class="wide">guide</th>
                <th scope="col"><span class="said">what to do</span></th>
              </tr>
            </thead>
            <tbody>
              {classes.map((c) => (
                <tr key={c.id} data-testid="class" data-class={c.id}>
                  <td><Chip of={c} /></td>
                  <td class="name">{shown(c.name)}</td>
                  <td class="number"><a href={`#/pictures?class=${c.id}`}>{count(c.pictures)}</a></td>
                  <td class="number wide">{count(c.by_you)}</td>
                  <td class="number wide">{count(c.in_groups)}</td>
                  <td class="number wide">{count(c.by_model)}</td>
                  <td class="number wide">{right(c.id)}</td>
                  <td class="wide">
                    <button type="button" class="quiet guide-cell" onClick={() => setDoing({ act: "guide", of: c })}>
                      {guideWords(c)}
                    </button>
                  </td>
                  <td class="number">
                    <Menu
                      label={`What to do with ${shown(c.name)}`}
                      entries={[
                        ["Rename", () => setDoing({ act: "rename", of: c })],
                        ["Merge into...", classes.length > 1 ? () => setDoing({ act: "merge", of: c }) : null],
                        ["Guide...", () => setDoing({ act: "guide", of: c })],
                        ["Find more like this", c.by_you + c.in_groups > 0 ? () => model.visit({ screen: "find", filter: { class: c.id } }) : null],
                        ["How far does it go?", c.pictures > 0 ? () => model.visit({ screen: "gallery", part: "border", filter: { class: c.id } }) : null],
                        ["Show pictures", () => model.visit({ screen: "pictures", filter: { class: c.id } })],
                        ["Change key", () => setDoing({ act: "key", of: c })],
                        ["Change look", () => setDoing({ act: "look", of: c })],
                        ["Archive", () => setDoing({ act: "archive", of: c })],
                      ]}
                    />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
        <Archived />
      </div>
      {Form && <Form key={doing.of.id} of={doing.of} classes={classes} close={close} />}
    </main>
  );
}

/** `38 of 40 (83.5 to 98.6 %)`, once the audit is closed and where it has 10 of a class. */
function useAuditByClass(): (id: number) => string {
  const closed = useApp((app) => app.state?.audit.closed ?? false);
  const [rows, setRows] = useState<readonly AuditClass[]>([]);
  useEffect(() => {
    let over = false;
    setRows([]);
    if (closed) checks.audit().then((audit) => !over && setRows(audit.result?.classes ?? []), () => undefined);
    return () => {
      over = true;
    };
  }, [closed]);
  return (id) => {
    const row = rows.find((r) => r.class === id);
    return row ? `${count(row.k)} of ${count(row.n)} (${percent(row.low)} to ${percent(row.high)} %)` : "";
  };
}

const percent = (p: number) => (p * 100).toFixed(1);

/** `3 examples, 1 not`: what a guide holds. */
function guideWords({ guide }: ClassInfo): string {
  const { examples, nots, text } = guide;
  const parts = [
    text && "text", examples.length && `${examples.length} ${examples.length === 1 ? "example" : "examples"}`,
    nots.length && `${nots.length} not`,
  ].filter(Boolean);
  return parts.length ? parts.join(", ") : "add";
}

/** What a class means, in a sentence and by pictures. */
function EditGuide({ of, close }: FormProps) {
  const model = useModel();
  const [text, setText] = useState(of.guide.text);
  const [examples, setExamples] = useState<readonly Seen[]>(of.guide.examples);
  const [nots, setNots] = useState<readonly Seen[]>(of.guide.nots);
  const submit = async () => {
    const guide = { text: text.trim(), examples: examples.map((p) => p.id), nots: nots.map((p) => p.id) };
    const made = await model.change((id, seen_rev) => api.changeClass(of.id, { id, seen_rev, guide }));
    if (made) close();
  };
  return (
    <Dialog title={`Guide: ${shown(of.name)}`} onClose={close} onSubmit={() => void submit()} action="Keep the guide">
      <label class="guide-text">
        What makes a picture {shown(of.name)}
        <input type="text" maxLength={500} value={text} onInput={(e) => setText(e.currentTarget.value)} />
      </label>
      <PinnedRow title="Examples" pictures={examples} off={(id) => setExamples(examples.filter((p) => p.id !== id))} />
      <PinnedRow title="Not this" pictures={nots} off={(id) => setNots(nots.filter((p) => p.id !== id))} />
      <p class="dim">
        <kbd>Shift+K</kbd> pins the picture in focus as an example of its class, on every screen but the
        audit. The guide beside the queue, <kbd>G</kbd>, also pins what is not of a class.
      </p>
      <Problem />
    </Dialog>
  );
}

function PinnedRow({ title, pictures, off }: {
  title: string; pictures: readonly Seen[]; off: (id: string) => void;
}) {
  if (pictures.length === 0) return <p class="dim">{title}: none pinned.</p>;
  return (
    <div>
      <p>{title}</p>
      <div class="samples">
        {pictures.map((p, i) => (
          <button key={p.id} type="button" class="pinned-off" aria-label={`Take off ${title.toLowerCase()} ${i + 1}`} onClick={() => off(p.id)}>
            <img src={thumbnail(p, 96)} alt="" /> <span aria-hidden="true">take off</span>
          </button>
        ))}
      </div>
    </div>
  );
}

function Archived() {
  const all = useApp((app) => app.state?.classes ?? NONE);
  const gone = all.filter((c) => c.archived || c.merged_into !== null);
  if (gone.length === 0) return null;
  const name = (id: number) => all.find((c) => c.id === id)?.name ?? "";
  return (
    <p class="dim">
      {"No longer in use: "}
      {gone.map((c) => shown(c.name) + (c.merged_into === null ? "" : ` (now ${shown(name(c.merged_into))})`)).join(", ")}.
      {" "}Undo and History bring them back.
    </p>
  );
}
const NONE: ClassInfo[] = [];

function NewClass({ model }: { model: Model }) {
  const [name, setName] = useState("");
  const add = async () => {
    if (!tidied(name)) return;
    const made = await model.change((id, seen_rev) => api.newClass({ id, seen_rev, name: tidied(name) }));
    if (made) setName("");
  };
  return (
    <form
      class="row push"
      onSubmit={(event) => {
        event.preventDefault();
        void add();
      }}
    >
      <input
        type="text" aria-label="Name of a new class" placeholder="New class" value={name}
        maxLength={LONGEST_CLASS_NAME} autocomplete="off" onInput={(e) => setName(e.currentTarget.value)}
      />
      <button type="submit" disabled={!tidied(name)}>Add</button>
    </form>
  );
}

interface FormProps {
  of: ClassInfo;
  classes: readonly ClassInfo[];
  close: () => void;
}

/** Changes a class as it stood when the dialog was opened: what others did since is not undone. */
function useChange(): (run: Parameters<Model["change"]>[0]) => ReturnType<Model["change"]> {
  const model = useModel();
  const [seen] = useState(() => ({ rev: model.now.state?.label_rev ?? 0 }));
  return (run) => model.change(run, seen);
}

function Rename({ of, classes, close }: FormProps) {
  const change = useChange();
  const [name, setName] = useState(of.name);
  const owner = classes.find((c) => c.id !== of.id && sameName(c.name, name));
  const submit = async () => {
    const made = await change((id, seen_rev) =>
      owner
        ? api.mergeClass(of.id, { id, seen_rev, into: owner.id })
        : api.changeClass(of.id, { id, seen_rev, name: tidied(name) }),
    );
    if (made) close();
  };
  return (
    <Dialog
      title={`Rename ${shown(of.name)}`} onClose={close} onSubmit={() => void submit()}
      action={owner ? `Merge ${count(of.pictures)}` : "Rename"} disabled={!tidied(name) || tidied(name) === of.name}
    >
      <input
        type="text" aria-label="New name" value={name} maxLength={LONGEST_CLASS_NAME}
        onInput={(event) => setName(event.currentTarget.value)} onFocus={(e) => e.currentTarget.select()}
      />
      {owner && (
        <>
          <p class="why">
            There is already a class "{shown(owner.name)}". Merge into it (Enter) or choose another name.
          </p>
          <Sides of={of} into={owner} />
        </>
      )}
      <Problem />
    </Dialog>
  );
}

function Merge({ of, classes, close }: FormProps) {
  const change = useChange();
  const others = classes.filter((c) => c.id !== of.id);
  const [into, setInto] = useState(others[0]!.id);
  const target = others.find((c) => c.id === into)!;
  const submit = async () => {
    const made = await change((id, seen_rev) => api.mergeClass(of.id, { id, seen_rev, into }));
    if (made) close();
  };
  return (
    <Dialog title={`Merge ${shown(of.name)}`} onClose={close} onSubmit={() => void submit()} action={`Merge ${count(of.pictures)}`}>
      <label class="row">
        into
        <select class="catches" value={String(into)} onChange={(e) => setInto(Number(e.currentTarget.value))}>
          {others.map((c) => <option key={c.id} value={c.id}>{shown(c.name)} ({count(c.pictures)})</option>)}
        </select>
      </label>
      <Sides of={of} into={target} />
      <Problem />
    </Dialog>
  );
}

/** Both sides of a merge by example, and what will happen in words. */
function Sides({ of, into }: { of: ClassInfo; into: ClassInfo }) {
  return (
    <>
      <Samples of={of} />
      <Samples of={into} />
      <p>
        {count(of.pictures)} {shown(of.name)} become {shown(into.name)}. Undo brings them back.
      </p>
    </>
  );
}

function Samples({ of }: { of: ClassInfo }) {
  const [found, setFound] = useState<readonly Picture[]>([]);
  useEffect(() => {
    let over = false;
    api.images({ class: [of.id], presence: ["here"] }, "-time", null, 8).then(
      (page) => !over && setFound(page.items),
      () => undefined,
    );
    return () => {
      over = true;
    };
  }, [of.id]);
  return (
    <div>
      <p class="row"><Chip of={of} /> {shown(of.name)} <span class="dim">{pictures(of.pictures)}</span></p>
      <div class="samples">
        {found.map((p) => <img key={p.id} src={thumbnail(p, 96)} alt="" />)}
      </div>
    </div>
  );
}

function Archive({ of, close }: FormProps) {
  const change = useChange();
  const submit = async () => {
    const made = await change((id, seen_rev) => api.archiveClass(of.id, { id, seen_rev }));
    if (made) close();
  };
  return (
    <Dialog title={`Archive ${shown(of.name)}`} onClose={close} onSubmit={() => void submit()} action="Archive">
      <Samples of={of} />
      <p>
        {of.pictures === 1 ? "1 picture becomes" : `${count(of.pictures)} pictures become`} open again.
        Undo brings them back.
      </p>
      <Problem />
    </Dialog>
  );
}

function ChangeKey({ of, classes, close }: FormProps) {
  const change = useChange();
  const bindings = useApp((app) => app.settings.bindings);
  const [key, setKey] = useState<Chord | null>(null);
  const why = key === null ? null : classKeyConflict(key, of.id, classes, bindings);
  const owner = classes.find((c) => c.key === key && c.id !== of.id);
  const submit = async () => {
    if (key === null) return;
    const made = await change((id, seen_rev) =>
      api.changeClass(of.id, { id, seen_rev, key, ...(owner ? { swap: true } : {}) }),
    );
    if (made) close();
  };
  return (
    <Dialog
      title={`Key of ${shown(of.name)}`} onClose={close} onSubmit={() => void submit()}
      action={owner ? "Swap them" : "Take this key"} disabled={key === null || (why !== null && !owner)}
    >
      <p
        class="press catches" tabIndex={0} role="button"
        onKeyDown={(event) => {
          const chord = chordOf(event, { mac: MAC });
          if (chord === "enter") event.currentTarget.closest("form")?.requestSubmit();
          if (chord === null || chord === "esc" || chord === "enter") return;
          event.preventDefault();
          setKey(chord);
        }}
      >
        {key === null ? `Now ${of.key ? nameOf(of.key) : "none"}. Press the new key.` : nameOf(key)}
      </p>
      {why && <p class="why" role="alert">{why}</p>}
      <Problem />
    </Dialog>
  );
}

function ChangeLook({ of, classes, close }: FormProps) {
  const change = useChange();
  const [look, setLook] = useState(of.look);
  const owner = classes.find((c) => c.look === look && c.id !== of.id);
  const submit = async () => {
    const made = await change((id, seen_rev) => api.changeClass(of.id, { id, seen_rev, look }));
    if (made) close();
  };
  return (
    <Dialog
      title={`Look of ${shown(of.name)}`} onClose={close} onSubmit={() => void submit()}
      action="Take this look" disabled={look < 0 || look === of.look}
    >
      <div class="looks" role="group" aria-label="Looks">
        {Array.from({ length: LOOKS }, (_, i) => (
          <button key={i} type="button" aria-label={lookName(i)} aria-pressed={look === i} onClick={() => setLook(i)}>
            <span class={`swatch ${lookClass(i)}`} />
          </button>
        ))}
      </div>
      {owner && <p class="why">"{shown(owner.name)}" has this look, too.</p>}
      <Problem />
    </Dialog>
  );
}

/** Why the server refused, where the person is looking. */
function Problem() {
  const note = useApp((app) => app.note);
  return note?.kind === "careful" ? <p class="why" role="alert">{note.text}</p> : null;
}

const FORMS = { rename: Rename, merge: Merge, guide: EditGuide, archive: Archive, key: ChangeKey, look: ChangeLook };
