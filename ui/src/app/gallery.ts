/** The gallery as it stands: the groups, what is done with them, and what the server says of it. */

import type { Group, Groups as Page, GroupsChanged } from "../api.types";
import * as gallery from "../logic/gallery";
import type { Change, Standing } from "../logic/overlay";
import * as texts from "../logic/texts";
import { api, Refused } from "./api";
import type { News } from "./live";
import { answerTo, type Model, type Reply } from "./model";
import { Observable } from "./observable";

export interface View {
  line: gallery.Line;
  next: string | null; // where the list goes on
  total: number; // groups in all, those answered here included
  settled: number; // groups that were settled before this list was served
  near: readonly (readonly string[])[]; // pairs that may be the same class
  asked: ReadonlySet<string>; // pairs that were answered here
  rev: number; // of the list; 0: none was served yet
  loading: boolean;
  newer: Page | null; // a newer list, which waits until the group in view is left
  done: readonly Group[] | null; // settled groups, where they were asked for
}

const EMPTY: View = {
  line: gallery.EMPTY, next: null, total: 0, settled: 0, near: [], asked: new Set(), rev: 0,
  loading: false, newer: null, done: null,
};
const FIRST = 20;
const PAGE = 50;
const LOW = 8; // fetch more when fewer groups are ahead
const SOON = 300; // ms: news of model and groups come together
const AGAIN = 2000;
const MOST_AT_ONCE = 10_000;
const ELSEWHERE = "elsewhere"; // pictures that were answered on other screens
const SURE = 0.8; // from here an open picture counts as one by the model

export const pairId = (pair: readonly string[]): string => [...pair].sort().join(" ");

export class Gallery {
  readonly view = new Observable<View>(EMPTY);
  byKeys = false; // tiles are gone through by keys: the focus follows, from group to group
  private busy: Promise<void> | null = null; // the server is cutting or merging groups
  private since = performance.now();
  private looking: ReturnType<typeof setTimeout> | undefined;
  private readonly pairs = new Map<string, string>(); // event -> pair

  constructor(private readonly model: Model) {
    model.follow({
      refused: (event) => {
        if (this.back(event)) void this.fetch(true);
      },
      undone: (event) => this.back(event),
      redone: (event) => this.again(event),
      news: (news) => this.hear(news),
    });
  }

  get now(): View {
    return this.view.now;
  }

  get current(): gallery.Entry | null {
    return gallery.current(this.now.line);
  }

  // ---------------------------------------------------------------- what the server says

  /** The screen is entered: pictures that were answered on other screens are left out. */
  enter(): void {
    this.since = performance.now();
    const { line } = this.now;
    const taken = new Map(line.answered);
    for (const [id, { state }] of this.model.now.overlay) {
      if (state !== "open" && !taken.has(id)) taken.set(id, ELSEWHERE);
    }
    if (taken.size > line.answered.size) this.view.set({ line: { ...line, answered: taken } });
    if (this.now.rev > 0) this.look();
    else void this.load();
  }

  /** Loads groups until enough are ahead; `all`: every one, for the overview. */
  async load(all = false): Promise<void> {
    const { loading, rev, next } = this.now;
    if (loading || !this.model.now.state?.groups_rev || (rev > 0 && next === null)) return;
    if (!all && rev > 0 && this.ahead() >= LOW) return;
    this.view.set({ loading: true });
    try {
      const page = await api.groups(next, rev === 0 ? FIRST : PAGE);
      if (next === this.now.next) this.add(page);
      this.view.set({ loading: false });
      void this.load(all);
    } catch (error) {
      this.view.set({ loading: false });
      if (error instanceof Refused) this.model.tell(error.message, "careful");
      else setTimeout(() => void this.load(all), AGAIN);
    }
  }

  private ahead(): number {
    const { line } = this.now;
    return line.entries.slice(line.at).filter((entry) => gallery.isOpen(line, entry)).length;
  }

  private add(page: Page): void {
    const first = this.now.rev === 0;
    let line = gallery.grown(this.now.line, page.items, page.label_rev);
    if (gallery.current(line) === null) line = gallery.stepped({ ...line, at: -1 }, 1);
    this.view.set({
      line, next: page.next, near: page.near, rev: page.rev, settled: page.done,
      total: first ? page.total : this.now.total,
    });
  }

  /** Asks for a newer list soon; it is shown when the group in view is left. */
  private look(): void {
    clearTimeout(this.looking);
    this.looking = setTimeout(() => void this.fetch(), SOON);
  }

  /** `again`: an answer was refused, since others spoke meanwhile: its group as it is now. */
  private async fetch(again = false): Promise<void> {
    if (this.now.rev === 0) {
      if (this.model.now.address.screen === "gallery") await this.load();
      return;
    }
    try {
      const newer = await api.groups(null, FIRST);
      this.view.set({ newer });
      const inView = this.current;
      if (again || inView === null || !gallery.isOpen(this.now.line, inView)) this.showNewer();
      if (again && inView) this.show(inView.group.id);
    } catch {
      // The next news asks again.
    }
  }

  private hear(news: News): void {
    if (news.kind === "model" || news.kind === "groups" || news.kind === "resync") this.look();
  }

  /** Shows a newer list at once, the group in view included. */
  showNewer(): void {
    const { newer } = this.now;
    if (newer) this.take(newer, gallery.replaced(this.now.line, newer.items, newer.label_rev));
  }

  private take(page: Page, line: gallery.Line): void {
    const reached = line.entries.length - gallery.openEntries(line).length;
    this.view.set({
      line, newer: null, next: page.next, near: page.near, rev: page.rev, settled: page.done,
      total: Math.max(reached + page.total, line.entries.length),
    });
    this.since = performance.now();
    void this.load();
  }

  /** Goes to another line; where that goes on to another group, a newer list takes over. */
  private go(step: (line: gallery.Line) => gallery.Line): void {
    const { newer, line: old } = this.now;
    const line = step(old);
    const on = line.at !== old.at;
    if (newer && on) this.take(newer, gallery.renewed(line, old.at, newer.items, newer.label_rev));
    else this.view.set({ line });
    if (on) this.since = performance.now();
    void this.load();
  }

  // ---------------------------------------------------------------- moving

  step(by: 1 | -1): void {
    if (by === 1) this.go((line) => gallery.stepped(line, 1));
    else this.view.set({ line: gallery.stepped(this.now.line, -1) });
  }

  show(id: string): void {
    this.view.set({ line: gallery.shownAt(this.now.line, id) });
    this.since = performance.now();
  }

  /** Opens a settled group once more, to answer it anew. */
  reopen(group: Group): void {
    const { line } = this.now;
    if (gallery.find(line, group.id)) return this.show(group.id);
    const seen = this.model.now.state?.label_rev ?? 0;
    const entry: gallery.Entry = { group, out: new Set(), done: this.wordsOf(group), seen };
    const at = Math.max(0, line.at);
    const entries = [...line.entries.slice(0, at), entry, ...line.entries.slice(at)];
    this.view.set({ line: { ...line, entries, at } });
  }

  /** What became of a settled group, in words. */
  wordsOf(group: Group): string {
    if (group.aside === "mixed") return "not one class";
    const labels = new Set(group.typical.map((picture) => picture.class));
    const [id] = labels;
    const name = this.model.classes.find((c) => c.id === id)?.name;
    return labels.size === 1 && name !== undefined ? name : "answered";
  }

  async showDone(on: boolean): Promise<void> {
    if (!on) return this.view.set({ done: null });
    this.view.set({ done: [] });
    try {
      let next: string | null = null;
      do {
        const page: Page = await api.groups(next, PAGE, true);
        if (this.now.done === null) return;
        this.view.set({ done: [...this.now.done, ...page.items] });
        next = page.next;
      } while (next !== null);
    } catch (error) {
      if (error instanceof Refused) this.model.tell(error.message, "careful");
    }
  }

  // ---------------------------------------------------------------- answering

  toggle(images: readonly string[], out: boolean): void {
    const id = this.current?.group.id;
    if (id) this.view.set({ line: gallery.toggled(this.now.line, id, images, out) });
  }

  /** What an answer to the group in view would take: all but what was taken out, or less. */
  scope(shown: readonly string[], only: boolean): string[] {
    const { line } = this.now;
    const entry = this.current;
    if (!entry) return [];
    const images = only ? shown : gallery.left(line, entry);
    return images.filter((id) => !entry.out.has(id));
  }

  /** Answers the group in view; `only`: no more of it than was shown. */
  answer(reply: Reply, shown: readonly string[], only: boolean): void {
    if (this.busy) return void this.busy.then(() => this.answer(reply, shown, only));
    const entry = this.current;
    const images = this.scope(shown, only);
    if (!entry || images.length === 0) return;
    const { class: id, name, state } = this.model.described(reply);
    const all = !only || images.length === this.scope(shown, false).length;
    const scope = all ? texts.labelAll(images.length, null) : texts.onlyShown(images.length);
    const event = this.send([entry], reply, images, shown, scope);
    const words = all ? (name ?? texts.STATE_WORDS[state ?? ""] ?? String(id)) : null;
    this.go((line) => gallery.answered(line, event, [entry.group.id], images, words));
  }

  /** One answer to several groups, of which `shown` was on the screen. */
  answerAll(ids: readonly string[], reply: Reply, shown: readonly string[]): void {
    const { line } = this.now;
    const { name, state } = this.model.described(reply);
    const entries = ids.map((id) => gallery.find(line, id)).filter((entry) => entry !== null);
    for (const some of portions(line, entries)) {
      const images = some.flatMap((entry) => gallery.left(line, entry).filter((id) => !entry.out.has(id)));
      if (images.length === 0) continue;
      const event = this.send(some, reply, images, shown, `Label ${texts.groups(some.length)}`);
      const words = name ?? texts.STATE_WORDS[state ?? ""] ?? "answered";
      this.go((now) => gallery.answered(now, event, some.map((e) => e.group.id), images, words));
    }
  }

  private send(
    entries: readonly gallery.Entry[], reply: Reply, images: readonly string[],
    shown: readonly string[], scope: string,
  ): string {
    const { class: id, name, state } = this.model.described(reply);
    const target: Standing = state
      ? { state, class: null }
      : { state: "labelled", class: id ?? null, source: "group" };
    const taken = new Set(images);
    const likely = entries.length === 1 ? entries[0]!.group.likely : null;
    const group = state ? {} : {
      kind: "group_labelled", scope,
      taken_out: entries.flatMap((entry) => [...entry.out]),
      shown: shown.filter((image) => taken.has(image)),
      group_rev: entries[0]!.group.rev,
      ...(likely ? { suggestion: this.model.shownWith(likely) } : {}),
    };
    return this.model.submit({
      body: {
        ...answerTo(images, this.model.described(reply)), ...group, images, image: undefined, from: "gallery",
        seen_rev: Math.min(...entries.map((entry) => entry.seen)),
        ms: Math.round(performance.now() - this.since),
      },
      text: texts.answered(images.length, state ? { state } : { name: name ?? "" }),
      changes: this.changes(entries, taken, target),
      overlay: new Map(images.map((image) => [image, target])),
    });
  }

  /** Where each picture was counted, as far as this page knows. */
  private changes(
    entries: readonly gallery.Entry[], taken: ReadonlySet<string>, to: Standing,
  ): Change[] {
    return entries.flatMap(({ group }) => {
      const known = new Map([...group.typical, ...group.edge].map((p) => [p.id, p] as const));
      return group.ids.filter((id) => taken.has(id)).map((id) => {
        const before = this.model.now.overlay.get(id);
        const picture = known.get(id);
        const p = picture ? picture.sug?.p : group.likely?.p;
        const from = before ?? {
          state: picture?.state ?? "open", class: picture?.class ?? null,
          source: picture?.source ?? null,
        };
        return { from: { ...from, sure: (p ?? 0) >= SURE }, to };
      });
    });
  }

  /** Puts groups aside: "mixed" until the next grouping, "later" to the end. */
  async aside(ids: readonly string[], why: "mixed" | "later"): Promise<void> {
    const words = why === "mixed" ? "not one class" : "later";
    for (const id of ids) {
      const event = this.model.outbox.newId();
      this.go((line) => gallery.aside(line, event, [id], words));
      try {
        this.model.acted(await api.asideGroup(id, { id: event, why }));
      } catch (error) {
        this.back(event);
        this.model.refuse(error);
      }
    }
  }

  halve(): Promise<void> {
    const id = this.current?.group.id;
    return id === undefined
      ? Promise.resolve()
      : this.change([id], (event) => api.halveGroup(id, { id: event }));
  }

  merge(ids: readonly string[]): Promise<void> {
    if (ids.length < 2) return Promise.resolve();
    return this.change(ids, (id) => api.mergeGroups({ id, groups: [...ids] }));
  }

  private change(
    ids: readonly string[], ask: (event: string) => Promise<GroupsChanged>,
  ): Promise<void> {
    if (this.busy) return this.busy;
    const event = this.model.outbox.newId();
    const run = async () => {
      try {
        const made = await ask(event);
        const before = this.now.line.entries.length;
        const line = gallery.changed(this.now.line, event, ids, made.items, made.label_rev);
        this.view.set({ line, total: this.now.total + line.entries.length - before });
        this.since = performance.now();
        this.model.acted(made);
      } catch (error) {
        this.model.refuse(error);
        if (error instanceof Refused) this.look();
      }
      this.busy = null;
    };
    this.busy = run();
    return this.busy;
  }

  /** Answers a card: the same is one group from now on, the rest is remembered. */
  pair(pair: readonly string[], answer: "same" | "different" | "unsure"): Promise<void> {
    const asked = new Set([...this.now.asked, pairId(pair)]);
    this.view.set({ asked });
    if (answer === "same") return this.merge(pair);
    const [a, b] = pair;
    const event = this.model.submit({
      body: { kind: "pair_answered", a, b, answer },
      text: answer === "different" ? "two groups are different" : "two groups: not sure",
    });
    this.pairs.set(event, pairId(pair));
    return Promise.resolve();
  }

  /** Cards that can be asked: both groups are open and here. */
  get cards(): readonly (readonly string[])[] {
    const { line, near, asked } = this.now;
    const open = new Set(gallery.openEntries(line).map((entry) => entry.group.id));
    return near.filter((pair) => !asked.has(pairId(pair)) && pair.every((id) => open.has(id)));
  }

  async regroup(): Promise<void> {
    try {
      const { started } = await api.regroup();
      this.model.tell(started
        ? "The open pictures are being grouped anew. You can go on meanwhile."
        : "Nothing runs that could group them. Start handful again.");
    } catch (error) {
      this.model.refuse(error);
    }
  }

  // ---------------------------------------------------------------- undo

  /** Shows what was taken back; false when it was no answer of this page's gallery. */
  private back(event: string): boolean {
    const pair = this.pairs.get(event);
    if (pair !== undefined) {
      this.view.set({ asked: new Set([...this.now.asked].filter((id) => id !== pair)) });
      return true;
    }
    const line = gallery.taken(this.now.line, event);
    if (line) this.view.set({ line });
    else this.forget();
    return line !== null;
  }

  private again(event: string): boolean {
    const pair = this.pairs.get(event);
    if (pair !== undefined) this.view.set({ asked: new Set([...this.now.asked, pair]) });
    const line = gallery.again(this.now.line, event);
    if (line) this.view.set({ line });
    else if (pair === undefined) this.forget();
    return line !== null || pair !== undefined;
  }

  /** An answer that another screen or an earlier page gave has changed: ask what is open. */
  private forget(): void {
    const { line, rev } = this.now;
    if (rev === 0) return;
    const answered = new Map([...line.answered].filter(([, by]) => by !== ELSEWHERE));
    this.view.set({ line: { ...line, answered } });
    this.look();
  }
}

/** Groups in portions that one answer may hold. */
function portions(
  line: gallery.Line, entries: readonly gallery.Entry[],
): gallery.Entry[][] {
  const found: gallery.Entry[][] = [];
  let room = 0;
  for (const entry of entries) {
    const n = gallery.left(line, entry).length;
    if (n > room) {
      found.push([]);
      room = MOST_AT_ONCE;
    }
    found.at(-1)!.push(entry);
    room -= n;
  }
  return found;
}

const galleries = new WeakMap<Model, Gallery>();

/** The gallery of this page: it outlives a visit to another screen. */
export function galleryOf(model: Model): Gallery {
  const known = galleries.get(model) ?? new Gallery(model);
  galleries.set(model, known);
  return known;
}
