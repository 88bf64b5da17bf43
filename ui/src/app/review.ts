/** Labels that may be wrong, one after the other, and what was decided about each. */

import type { ClassInfo, Picture, Reviewed } from "../api.types";
import type { Standing } from "../logic/overlay";
import { checks, complaint, Refused } from "./api";
import type { Model, Reply } from "./model";
import { Observable } from "./observable";

const SERVE = 30;
const LOW = 10;

export interface Decided {
  event: string;
  kept: boolean;
  changed: boolean; // counts as one that was really wrong
  words: string;
}

export interface Reviewing {
  items: readonly Reviewed[];
  at: number;
  decided: ReadonlyMap<string, Decided>; // by picture
  next: string | null;
  total: number;
  looked: number; // before this sitting
  wrong: number;
  labels: number;
  loaded: boolean;
  loading: boolean;
}

const NOTHING: Reviewing = {
  items: [], at: 0, decided: new Map(), next: null, total: 0, looked: 0, wrong: 0, labels: 0,
  loaded: false, loading: false,
};

export class ReviewSitting {
  readonly list = new Observable<Reviewing>(NOTHING);
  private readonly taken = new Map<string, { id: string; was: Decided }>();
  private shownSince = performance.now();

  constructor(private readonly model: Model) {}

  get now(): Reviewing {
    return this.list.now;
  }

  begin(): () => void {
    this.shownSince = performance.now();
    if (!this.now.loaded || this.now.decided.size === 0) void this.load();
    return this.model.follow({
      refused: (event) => void this.back(event),
      undone: (event) => this.back(event),
      redone: (event) => this.again(event),
    });
  }

  get current(): Reviewed | null {
    return this.now.items[this.now.at] ?? null;
  }

  /** The list anew: what the newest suggestions say. */
  async load(): Promise<void> {
    this.list.set({ ...NOTHING, loading: true });
    await this.more(null);
  }

  private async more(cursor: string | null): Promise<void> {
    this.list.set({ loading: true });
    try {
      const page = await checks.review("errors", cursor, SERVE);
      const known = new Set(this.now.items.map((item) => item.picture.id));
      this.list.set({
        items: [...this.now.items, ...page.items.filter((item) => !known.has(item.picture.id))],
        next: page.next, total: Math.max(page.total, this.now.total), loaded: true, loading: false,
        ...(cursor === null ? { looked: page.looked, wrong: page.wrong, labels: page.labels } : {}),
      });
      if (cursor === null) this.shownSince = performance.now();
    } catch (error) {
      this.list.set({ loading: false });
      if (error instanceof Refused) this.model.tell(complaint(error), "careful");
      else setTimeout(() => void this.more(cursor), 2000);
    }
  }

  private ahead(): void {
    const { items, at, next, loading } = this.now;
    if (next !== null && !loading && items.length - at < LOW) void this.more(next);
  }

  step(by: 1 | -1): void {
    const { items, at } = this.now;
    this.list.set({ at: Math.max(0, Math.min(items.length, at + by)) });
    this.shownSince = performance.now();
    this.ahead();
  }

  /** Remembered: it does not come up again. */
  keep(): void {
    const item = this.current;
    if (!item) return;
    const event = this.model.submit({
      body: { kind: "review_kept", image: item.picture.id, ms: this.ms() }, text: "1 label kept",
    });
    this.note(item, { event, kept: true, changed: false, words: "kept" });
  }

  /** Takes the suggestion. */
  change(): void {
    const to = this.current?.to;
    if (to !== undefined) this.reply(to === null ? { state: "none" } : { class: to });
  }

  reply(reply: Reply): void {
    const item = this.current;
    if (!item) return;
    const said = this.model.described(reply);
    if (said.state === "later") return this.step(1);
    if (said.class !== undefined && said.class === this.standing(item.picture).class) return this.keep();
    const event = said.state
      ? this.model.decide([this.subject(item.picture)], reply, "review", this.ms())
      : this.changed(item.picture, said);
    if (!event) return;
    const words = said.name ?? said.state ?? "";
    this.note(item, { event, kept: false, changed: said.state !== "unsure", words });
  }

  private changed(picture: Picture, said: { class?: number; name?: string }): string {
    const target = said.class !== undefined && said.class >= 0 ? { class: said.class } : { name: said.name };
    const to: Standing = { state: "labelled", class: said.class ?? null, source: "hand" };
    return this.model.submit({
      body: { kind: "review_changed", image: picture.id, ...target, ms: this.ms() },
      text: `1 image labelled "${said.name ?? ""}"`,
      changes: [{ from: this.standing(picture), to }], overlay: new Map([[picture.id, to]]),
    });
  }

  standing(picture: Picture): Standing {
    return this.model.now.overlay.get(picture.id) ??
      { state: picture.state, class: picture.class, source: picture.source };
  }

  private subject(picture: Picture): { id: string } & Standing {
    return { id: picture.id, ...this.standing(picture) };
  }

  private ms(): number {
    return Math.round(performance.now() - this.shownSince);
  }

  private note(item: Reviewed, what: Decided): void {
    this.list.set({ decided: new Map([...this.now.decided, [item.picture.id, what]]) });
    this.step(1);
  }

  private back(event: string): boolean {
    const found = [...this.now.decided].find(([, what]) => what.event === event);
    if (!found) return false;
    const [id, was] = found;
    this.taken.set(event, { id, was });
    const decided = new Map(this.now.decided);
    decided.delete(id);
    this.list.set({ decided, at: this.place(id) });
    this.shownSince = performance.now();
    return true;
  }

  private again(event: string): boolean {
    const found = this.taken.get(event);
    if (!found) return false;
    this.list.set({
      decided: new Map([...this.now.decided, [found.id, found.was]]), at: this.place(found.id) + 1,
    });
    return true;
  }

  private place(id: string): number {
    const at = this.now.items.findIndex((item) => item.picture.id === id);
    return at < 0 ? this.now.at : at;
  }

  /** Looked at and really wrong, with what this page has decided since. */
  get score(): { looked: number; wrong: number } {
    const mine = [...this.now.decided.values()];
    return {
      looked: this.now.looked + mine.length,
      wrong: this.now.wrong + mine.filter((what) => what.changed).length,
    };
  }
}

/** Of a class or of none: how it is called where it stands in a sentence. */
export function nameIn(classes: readonly ClassInfo[], id: number | null): string {
  return id === null ? "none of these" : (classes.find((c) => c.id === id)?.name ?? "a class that is gone");
}

const sittings = new WeakMap<Model, ReviewSitting>();

export function reviewOf(model: Model): ReviewSitting {
  const known = sittings.get(model) ?? new ReviewSitting(model);
  sittings.set(model, known);
  return known;
}
