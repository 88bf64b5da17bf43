/** Pictures of which two people said different things, and what each is settled as. */

import type { Agreed, Disagreement } from "../api.types";
import { checks, complaint, Refused } from "./api";
import type { Model, Reply } from "./model";
import { Observable } from "./observable";

const SERVE = 30;
const LOW = 10;
const AGAIN = 2000; // ms

export interface Settling {
  items: readonly Disagreement[];
  at: number;
  settled: ReadonlyMap<string, { event: string; words: string }>; // by picture
  next: string | null;
  total: number;
  twice: number; // pictures that two people have answered
  agreement: readonly Agreed[];
  loaded: boolean;
  loading: boolean;
}

const NOTHING: Settling = {
  items: [], at: 0, settled: new Map(), next: null, total: 0, twice: 0, agreement: [],
  loaded: false, loading: false,
};

export class Disagreeing {
  readonly list = new Observable<Settling>(NOTHING);

  constructor(private readonly model: Model) {}

  get now(): Settling {
    return this.list.now;
  }

  get current(): Disagreement | null {
    return this.now.items[this.now.at] ?? null;
  }

  /** How many are left to settle. */
  get left(): number {
    return Math.max(0, this.now.total - this.now.settled.size);
  }

  begin(): () => void {
    void this.load();
    return this.model.follow({
      refused: (event) => void this.back(event),
      undone: (event) => this.back(event),
      redone: (event) => this.again(event),
    });
  }

  async load(): Promise<void> {
    this.list.set({ ...NOTHING, loading: true });
    await this.more(null);
  }

  private async more(cursor: string | null): Promise<void> {
    this.list.set({ loading: true });
    try {
      const page = await checks.disagreements(cursor, SERVE);
      const known = new Set(this.now.items.map((item) => item.picture.id));
      this.list.set({
        items: [...this.now.items, ...page.items.filter((item) => !known.has(item.picture.id))],
        next: page.next, loaded: true, loading: false,
        ...(cursor === null ? { total: page.total, twice: page.twice, agreement: page.agreement } : {}),
      });
    } catch (error) {
      this.list.set({ loading: false });
      if (error instanceof Refused) this.model.tell(complaint(error), "careful");
      else setTimeout(() => void this.more(cursor), AGAIN);
    }
  }

  step(by: 1 | -1): void {
    const { items, at, next, loading } = this.now;
    const to = Math.max(0, Math.min(items.length, at + by));
    this.list.set({ at: to });
    if (next !== null && !loading && items.length - to < LOW) void this.more(next);
  }

  /** The label from now on, whatever each of them said. */
  settle(reply: Reply): void {
    const item = this.current;
    if (!item) return;
    const said = this.model.described(reply);
    if (said.state === "later" || said.state === "open") return this.step(1);
    const target = said.state
      ? { state: said.state }
      : said.class !== undefined && said.class >= 0 ? { class: said.class } : { name: said.name };
    const words = said.name ?? said.state ?? "";
    const to = said.state
      ? { state: said.state, class: null }
      : { state: "labelled", class: said.class ?? null, source: "hand" };
    const event = this.model.submit({
      body: { kind: "overlap_settled", image: item.picture.id, ...target },
      text: "1 disagreement settled",
      changes: [{ from: { state: "open", class: null }, to }],
      overlay: new Map([[item.picture.id, to]]),
    });
    const settled = new Map([...this.now.settled, [item.picture.id, { event, words }]]);
    this.list.set({ settled });
    this.taken.delete(event);
    this.step(1);
  }

  private readonly taken = new Map<string, { id: string; words: string }>();

  private back(event: string): boolean {
    const found = [...this.now.settled].find(([, what]) => what.event === event);
    if (!found) return false;
    const [id, { words }] = found;
    this.taken.set(event, { id, words });
    const settled = new Map(this.now.settled);
    settled.delete(id);
    const at = this.now.items.findIndex((item) => item.picture.id === id);
    this.list.set({ settled, at: at < 0 ? this.now.at : at });
    return true;
  }

  private again(event: string): boolean {
    const found = this.taken.get(event);
    if (!found) return false;
    this.list.set({
      settled: new Map([...this.now.settled, [found.id, { event, words: found.words }]]),
    });
    return true;
  }
}

const sittings = new WeakMap<Model, Disagreeing>();

export function disagreementsOf(model: Model): Disagreeing {
  const known = sittings.get(model) ?? new Disagreeing(model);
  sittings.set(model, known);
  return known;
}
