/**
 * Suggestions accepted above a sureness: a set that is frozen, checked blind on a sample of
 * itself, and only then taken.
 */

import type { AcceptChecked, AcceptPreview } from "../api.types";
import { checks, complaint } from "./api";
import type { Model, Reply } from "./model";
import { Observable } from "./observable";

export interface Accepting {
  p: number;
  only: number | null; // one class, or all
  preview: AcceptPreview | null;
  asking: boolean; // the sample is being answered
  answers: readonly { id: string; event: string }[]; // in the order of the sample
  checked: AcceptChecked | null;
  busy: boolean;
}

export class AcceptSitting {
  readonly state = new Observable<Accepting>({
    p: 0.97, only: null, preview: null, asking: false, answers: [], checked: null, busy: false,
  });
  private shownSince = performance.now();
  private request = 0;

  constructor(private readonly model: Model) {}

  get now(): Accepting {
    return this.state.now;
  }

  begin(): () => void {
    if (this.now.preview === null) void this.look();
    return this.model.follow({
      stored: () => void this.check(),
      refused: (event) => void this.back(event),
      undone: (event) => this.back(event),
    });
  }

  choose(change: { p?: number; only?: number | null }): void {
    this.state.set({ ...change, preview: null, answers: [], checked: null, asking: false });
    void this.look();
  }

  /** The set as it is now; answers to a sample of another set are worth nothing for it. */
  async look(): Promise<void> {
    const mine = ++this.request;
    const { p, only } = this.now;
    try {
      const preview = await checks.preview({ p, ...(only === null ? {} : { classes: [only] }) });
      if (mine !== this.request) return;
      const same = preview.set_hash === this.now.preview?.set_hash;
      this.state.set({ preview, ...(same ? {} : { answers: [], checked: null, asking: false }) });
    } catch (error) {
      if (mine === this.request) this.model.tell(complaint(error), "careful");
    }
  }

  get sampleLeft(): number {
    return (this.now.preview?.sample.length ?? 0) - this.now.answers.length;
  }

  ask(): void {
    this.state.set({ asking: true });
    this.shownSince = performance.now();
  }

  /** A sample is answered in its order, without leaving one out: none can be picked. */
  reply(reply: Reply): void {
    const { preview, answers } = this.now;
    const picture = preview?.sample[answers.length];
    const skips = "state" in reply && (reply.state === "later" || reply.state === "open");
    if (!picture || skips) return;
    const ms = Math.round(performance.now() - this.shownSince);
    const event = this.model.decide([{ id: picture.id }], reply, "accept", ms);
    if (!event) return;
    this.state.set({ answers: [...answers, { id: picture.id, event }], checked: null });
    this.shownSince = performance.now();
    if (this.sampleLeft === 0) this.state.set({ asking: false });
  }

  stop(): void {
    this.state.set({ asking: false });
    void this.check();
  }

  /** What the sample says, when it is over and everything is stored. */
  private async check(): Promise<void> {
    const { preview, answers, asking, checked } = this.now;
    if (!preview || asking || checked || answers.length === 0 || this.model.outbox.waiting.length > 0) return;
    try {
      const sample_events = answers.map((a) => a.event);
      const found = await checks.checked({ set_hash: preview.set_hash, sample_events });
      if (this.now.answers === answers) this.state.set({ checked: found });
    } catch (error) {
      this.model.tell(complaint(error), "careful");
      void this.look();
    }
  }

  /** An answer was taken back: it and those behind it are asked again. */
  private back(event: string): boolean {
    const { answers } = this.now;
    const at = answers.findIndex((answer) => answer.event === event);
    if (at < 0) return false;
    this.state.set({ answers: answers.slice(0, at), checked: null, asking: true });
    this.shownSince = performance.now();
    return true;
  }

  async accept(): Promise<void> {
    const { preview, answers, p } = this.now;
    if (!preview || this.now.busy) return;
    this.state.set({ busy: true });
    try {
      const done = await checks.accept({
        id: this.model.outbox.newId(), p, set_hash: preview.set_hash,
        sample_events: answers.map((a) => a.event),
      });
      await this.model.refresh();
      this.model.app.set({ reload: this.model.now.reload + 1 });
      this.model.tell(`${done.n.toLocaleString("en")} suggestions accepted. Undo takes them back.`);
      this.state.set({ preview: null, answers: [], checked: null });
    } catch (error) {
      this.model.tell(complaint(error), "careful");
    }
    this.state.set({ busy: false });
    await this.look();
  }
}

const sittings = new WeakMap<Model, AcceptSitting>();

export function acceptOf(model: Model): AcceptSitting {
  const known = sittings.get(model) ?? new AcceptSitting(model);
  sittings.set(model, known);
  return known;
}
