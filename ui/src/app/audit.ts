/**
 * The blind check: random pictures, and nothing beside them that could lead an answer.
 *
 * Its answers never train and never order the queue, so they have a line of their own.
 */

import type { Audit, AuditResult, Mistake } from "../api.types";
import { Pace } from "../logic/pace";
import * as queue from "../logic/queue";
import { api, checks, complaint, Refused } from "./api";
import type { Model, Reply } from "./model";
import { Observable } from "./observable";

const SERVE = 20;
const LOW = 10;
const PATIENCE = 2000; // ms until what did not work is tried again

export interface Sitting {
  standing: Audit | null;
  line: queue.Line;
  cursor: string | null;
  over: boolean; // nothing is left to be drawn
  loading: boolean;
  result: AuditResult | null; // of the check that was closed, or a look at the running one
  mistakes: readonly Mistake[] | null;
}

export class AuditSitting {
  readonly sitting = new Observable<Sitting>({
    standing: null, line: queue.EMPTY, cursor: null, over: false, loading: false, result: null,
    mistakes: null,
  });
  private readonly pace = new Pace();
  private readonly taken = new Map<string, { id: string; given: queue.Given }>();
  private shownSince = performance.now();

  constructor(private readonly model: Model) {}

  get now(): Sitting {
    return this.sitting.now;
  }

  /** Listens while the screen is in view. */
  begin(): () => void {
    this.shownSince = performance.now();
    void this.look();
    return this.model.follow({
      stored: (event) => this.stored(event),
      refused: (event) => this.back(event, -1),
      undone: (event) => this.back(event, -1),
      redone: (event) => this.again(event),
    });
  }

  /** Answers still to come, as far as this page knows. */
  get asking(): boolean {
    const { standing } = this.now;
    return standing !== null && !standing.closed && standing.answered < standing.wanted;
  }

  get left(): string | null {
    const { standing } = this.now;
    return standing ? this.pace.text(standing.wanted - standing.answered) : null;
  }

  /** How far it is, from the server; the running result only where it may be looked at. */
  async look(): Promise<void> {
    try {
      const standing = await checks.audit();
      this.sitting.set({ standing: { ...standing, answered: standing.answered + this.onTheWay }, result: standing.result });
      if (this.asking) void this.serve();
      if (standing.closed && this.now.mistakes) void this.showMistakes();
    } catch (error) {
      if (error instanceof Refused) this.model.tell(error.message, "careful");
      else setTimeout(() => void this.look(), PATIENCE);
    }
  }

  private get onTheWay(): number {
    return this.model.outbox.waiting.filter((item) => item.body["kind"] === "audit_answered").length;
  }

  answer(reply: Reply): void {
    const { line, standing } = this.now;
    const entry = queue.current(line);
    const said = this.model.described(reply);
    if (!entry || !standing || !this.asking) return;
    if (said.state === "later") return this.step(1); // asked again when the rest is done
    const target = said.state ? { state: said.state }
      : said.class !== undefined && said.class >= 0 ? { class: said.class } : { name: said.name };
    const ms = Math.round(performance.now() - this.shownSince);
    const again = entry.answer !== null;
    const event = this.model.submit({
      body: { kind: "audit_answered", image: entry.id, ...target, ms }, text: "1 blind answer",
    });
    this.pace.add(ms);
    this.sitting.set({
      line: queue.answered(line, { event, ...said }),
      standing: { ...standing, answered: standing.answered + (again ? 0 : 1) }, result: null,
    });
    this.shownSince = performance.now();
    void this.serve();
  }

  step(by: 1 | -1): void {
    this.sitting.set({ line: queue.stepped(this.now.line, by) });
    this.shownSince = performance.now();
    void this.serve();
  }

  /** A picture that did not load leaves the line where its file is to blame. */
  async failed(id: string): Promise<boolean> {
    try {
      if ((await api.image(id)).picture.presence === "here") return false;
    } catch (error) {
      if (!(error instanceof Refused && error.status === 404)) return false;
    }
    this.sitting.set({ line: queue.without(this.now.line, id) });
    void this.serve();
    return true;
  }

  private async serve(): Promise<void> {
    const { line, over, loading, cursor } = this.now;
    if (loading || over || !this.asking || queue.ahead(line) >= LOW) return;
    this.sitting.set({ loading: true });
    try {
      const reply = await api.queue(SERVE, "audit", cursor);
      const waited = queue.current(this.now.line) === null;
      this.sitting.set({
        line: queue.grown(this.now.line, reply.items, reply), cursor: reply.next,
        over: reply.next === null, loading: false,
      });
      if (waited) this.shownSince = performance.now();
      void this.serve();
    } catch (error) {
      this.sitting.set({ loading: false });
      if (error instanceof Refused) this.model.tell(error.message, "careful");
      else setTimeout(() => void this.serve(), PATIENCE);
    }
  }

  private stored(event: string): void {
    const mine = this.now.line.entries.some((entry) => entry.answer?.event === event);
    // At 60, 150 and 300 answers the server has something to say.
    if (mine && this.onTheWay === 0 && LOOKS.has(this.now.standing?.answered ?? 0)) void this.look();
  }

  private back(event: string, by: -1): boolean {
    const { line, standing } = this.now;
    const entry = line.entries.find((e) => e.answer?.event === event);
    if (!entry || !standing) return false;
    this.taken.set(event, { id: entry.id, given: entry.answer! });
    this.sitting.set({
      line: queue.taken(line, event), result: null,
      standing: { ...standing, answered: Math.max(0, standing.answered + by) },
    });
    this.shownSince = performance.now();
    return true;
  }

  private again(event: string): boolean {
    const { line, standing } = this.now;
    const was = this.taken.get(event);
    if (!was || !standing) return false;
    this.sitting.set({
      line: queue.answered(queue.shownAt(line, was.id), was.given), result: null,
      standing: { ...standing, answered: standing.answered + 1 },
    });
    return true;
  }

  // ---------------------------------------------------------------- closing

  async close(): Promise<void> {
    await this.run(async () => {
      await checks.closeAudit(this.model.outbox.newId());
      this.sitting.set({ mistakes: null });
    });
  }

  async more(): Promise<void> {
    await this.run(async () => {
      await checks.moreAudit(this.model.outbox.newId());
      this.sitting.set({ mistakes: null, over: false });
    });
  }

  async showMistakes(): Promise<void> {
    try {
      this.sitting.set({ mistakes: (await checks.mistakes()).items });
    } catch (error) {
      this.model.tell(complaint(error), "careful");
    }
  }

  private async run(what: () => Promise<void>): Promise<void> {
    if (this.onTheWay > 0) {
      return this.model.tell("Some answers are still on their way. Try again in a moment.", "careful");
    }
    try {
      await what();
      await this.model.refresh();
    } catch (error) {
      this.model.tell(complaint(error), "careful");
    }
    await this.look();
  }
}

const LOOKS: ReadonlySet<number> = new Set([60, 150, 300]);

const sittings = new WeakMap<Model, AuditSitting>();

/** The sitting of this page: it outlives a visit to another screen. */
export function auditOf(model: Model): AuditSitting {
  const known = sittings.get(model) ?? new AuditSitting(model);
  sittings.set(model, known);
  return known;
}
