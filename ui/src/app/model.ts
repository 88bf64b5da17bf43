/** The page as it stands, and everything a person can do to it. */

import type {
  Advice, Answered, ClassInfo, ClassMade, Counts, Done, HistoryLine, Likely, Shown, State,
  StreamCounts, StreamLearned, StreamPeople, StreamTasks, Undone,
} from "../api.types";
import { format, parse, type Address } from "../logic/address";
import { freeKey } from "../logic/keys";
import { AS_IT_COMES, type Look } from "../logic/look";
import { sameName } from "../logic/names";
import { Outbox, type Json, type Outcome, type Shelf, type Status } from "../logic/outbox";
import { withChanges, withClassChanges, type Change, type Standing } from "../logic/overlay";
import { Pace } from "../logic/pace";
import * as queue from "../logic/queue";
import * as texts from "../logic/texts";
import { api, complaint, Refused } from "./api";
import { listen, type News } from "./live";
import { Observable } from "./observable";
import { dress, load, save, type Settings } from "./settings";

export interface Note {
  text: string;
  kind: "plain" | "careful";
}

export interface App {
  state: State | null;
  shut: string | null; // why there is nothing to show at all
  status: Status;
  live: boolean;
  note: Note | null;
  said: string; // for those who listen
  address: Address;
  settings: Settings;
  line: queue.Line;
  served: Served;
  order: readonly string[]; // events of this page, as answered
  provisional: readonly ClassInfo[]; // typed here, not yet known to the server
  overlay: ReadonlyMap<string, Standing>; // pictures answered here, as they are now
  waiting: readonly { id: string; changes: readonly Change[]; text: string }[];
  started: boolean; // the start strip was closed
  flash: string; // the answer that was given a moment ago
  look: Look; // how all pictures are shown
  contrast: boolean; // whether that can be changed at the picture
  reload: number; // counts up when pictures on screen must be asked for again
}

/** What the queue is served, and how far. */
export interface Served {
  mode: string; // as the server is asked
  cursor: string | null;
  over: boolean;
  loading: boolean;
  rest: number; // pictures that counted as left when the last pass was over
}

const UNSERVED: Served = { mode: "", cursor: null, over: false, loading: false, rest: 0 };

/** What an answer is about: a picture with what is known of it. */
export interface Subject {
  id: string;
  state?: string;
  class?: number | null;
  source?: string | null;
  sure?: boolean;
}

export type Reply = { class: number } | { name: string } | { state: string };

/** A decision on its way: what the page shows of it before the server has stored it. */
export interface Sent {
  body: Json; // with its kind; `seen_rev` where it was served at another one than the newest
  text: string; // what Ctrl+Z would take back, in words
  changes?: readonly Change[]; // for the counts
  overlay?: ReadonlyMap<string, Standing>; // the pictures as they are now
}

/** What becomes of decisions, for the screens that show them; each by the id of its event. */
export interface Follower {
  stored?: (event: string, result: Json) => void;
  refused?: (event: string) => void;
  undone?: (event: string) => boolean | void; // true: it is shown
  redone?: (event: string) => boolean | void;
  news?: (news: News) => void;
}

const SERVE = 40;
const LOW = 25; // fetch more when fewer are ahead: no key outruns the queue
const LOW_SHARED = 10; // of several people each is asked twenty at a time
const AGAIN = 1000; // ms until an ended queue looks whether more has come
const WAIT = 3000; // ms until pictures that others are asked are looked for again
const FLASH = 120; // ms
const NEAR = 3; // pictures behind the one in view that are loaded already
const SURE = 0.8; // from here on the suggestion of an open picture counts
const REFRESH = 1500; // ms after the last answer, for exact counts of classes

export class Model {
  readonly app: Observable<App>;
  readonly outbox: Outbox;
  private readonly pace = new Pace();
  private readonly taken = new Map<string, { id: string; given: queue.Given }>();
  private readonly lines = new Map<string, queue.Line>(); // of the modes not in view
  private readonly followers = new Set<Follower>();
  private held: StreamCounts | null = null;
  private shownSince = performance.now();
  private nextProvisional = -1;
  private looked = false; // all blind pictures of the first look were asked
  private flashing: ReturnType<typeof setTimeout> | undefined;
  private refreshing: ReturnType<typeof setTimeout> | undefined;
  private urgent = false; // the state changed in a way that the next answer may need

  constructor(state: State | null, shut: string | null = null) {
    const settings = load();
    dress(settings, document.documentElement);
    this.app = new Observable<App>({
      state, shut, status: { waiting: 0, connected: true, refused: null }, live: true,
      note: null, said: "", address: addressOf(location.hash, state), settings,
      line: queue.EMPTY, served: UNSERVED,
      order: [], provisional: [], overlay: new Map(), waiting: [], started: false, flash: "",
      reload: 0, look: AS_IT_COMES, contrast: false,
    });
    this.outbox = new Outbox({
      project: state?.project.folder ?? "",
      shelf: browserShelf(),
      send: api.send,
      onStatus: (status) => this.onStatus(status),
      onOutcome: (outcome) => this.onOutcome(outcome),
    });
  }

  /** Begins to listen and sends what an earlier page has left. */
  start(): () => void {
    const onHash = () => {
      const address = addressOf(location.hash, this.now.state);
      if (format(address) !== format(this.now.address)) this.go(address);
    };
    window.addEventListener("hashchange", onHash);
    window.addEventListener("online", () => this.outbox.retry());
    const live = listen((news) => this.hear(news), () => this.refresh());
    this.outbox.start();
    this.enter(this.now.address);
    return () => {
      window.removeEventListener("hashchange", onHash);
      live.stop();
    };
  }

  get now(): App {
    return this.app.now;
  }

  // ---------------------------------------------------------------- where one is

  /** Goes there at once: the next key is meant for the screen that it leads to. */
  visit(address: Partial<Address> & { screen: Address["screen"] }): void {
    location.hash = format(address);
    this.go(addressOf(location.hash, this.now.state));
  }

  private go(address: Address): void {
    this.app.set({ address, note: null });
    this.enter(address);
  }

  private enter(address: Address): void {
    if (address.screen !== "queue") return;
    this.shownSince = performance.now();
    this.ask(this.modeOf(address));
    // One comes back to a blind picture while there are suggestions: nobody was looking at it.
    const entry = queue.current(this.now.line);
    if (this.now.served.mode === "useful" && entry?.blind && !entry.answer && this.now.state?.model_rev) {
      void this.showNewer();
    } else void this.serve();
  }

  /** What the server is asked for: while there are no suggestions, pictures for a blind answer. */
  private modeOf(address: Address): string {
    if (address.mode !== "useful") return address.mode;
    return this.now.state?.first_look && !this.looked ? "first" : "useful";
  }

  private ask(mode: string): void {
    const { served, line } = this.now;
    if (served.mode === mode) return;
    const same = OPEN.has(mode) && OPEN.has(served.mode); // one line of open pictures
    if (served.mode && !same) this.lines.set(lineOf(served.mode), line);
    this.app.set({
      line: same ? line : (this.lines.get(lineOf(mode)) ?? queue.EMPTY),
      served: { ...UNSERVED, mode },
    });
  }

  // ---------------------------------------------------------------- what there is

  get classes(): readonly ClassInfo[] {
    const { state, provisional } = this.now;
    const live = (state?.classes ?? []).filter((c) => !c.archived && c.merged_into === null);
    return withClassChanges([...live, ...provisional], this.changes());
  }

  get counts(): Counts | null {
    const { state } = this.now;
    return state ? withChanges(state.counts, this.changes()) : null;
  }

  /** What Ctrl+Z would take back, in words. */
  get undoText(): string | null {
    return this.now.waiting.at(-1)?.text ?? this.now.state?.undo?.text ?? null;
  }

  get paceText(): string | null {
    const open = this.counts?.open ?? 0;
    const own = this.pace.text(open);
    const { left_s: left } = this.now.state ?? { left_s: null };
    return own ?? (left && open ? `${texts.about(left * 1000)} at your pace` : null);
  }

  private changes(): Change[] {
    return this.now.waiting.flatMap((item) => item.changes);
  }

  // ---------------------------------------------------------------- answering

  /** Answers the picture in view and shows the next one at once. */
  answer(reply: Reply): void {
    const entry = queue.current(this.now.line);
    if (!entry) return;
    const before = this.now.overlay.get(entry.id);
    const { mode } = this.now.served;
    const sure = (entry.sug?.p ?? 0) >= SURE;
    const subject: Subject = before
      ? { id: entry.id, ...before }
      : { id: entry.id, state: OPEN.has(mode) ? "open" : mode, sure, class: sure ? entry.sug!.class : null };
    const ms = Math.round(performance.now() - this.shownSince);
    const event = entry.blind
      ? this.answerBlind(entry, reply, ms)
      : this.decide([subject], reply, "queue", ms, {
          seen_rev: entry.seen,
          ...(entry.sug ? { suggestion: this.shownWith(entry.sug, entry.model_rev) } : {}),
        });
    if (!event) return;
    this.pace.add(ms);
    const given: queue.Given = { event, ...this.described(reply) };
    this.app.set({ line: queue.answered(this.now.line, given), order: [...this.now.order, event] });
    this.shownSince = performance.now();
    this.glowFor(reply);
    void this.serve();
  }

  /** An answer that nothing could lead: it counts for the audit and never trains. */
  private answerBlind(entry: queue.Entry, reply: Reply, ms: number): string | null {
    const { class: id, name, state } = this.described(reply);
    if (state === "open" || state === "later") {
      return this.decide([{ id: entry.id, state: "open" }], reply, "queue", ms);
    }
    const target = state ? { state } : id !== undefined && id >= 0 ? { class: id } : { name };
    const to: Standing = state
      ? { state, class: null }
      : { state: "labelled", class: id ?? null, source: "audit" };
    const from: Standing = entry.answer
      ? { state: entry.answer.state ?? "labelled", class: entry.answer.class ?? null, source: "audit" }
      : { state: "open", class: null };
    return this.submit({
      body: { kind: "audit_answered", image: entry.id, ...target, ms },
      text: texts.answered(1, state ? { state } : { name: name ?? "" }),
      changes: [{ from, to }],
    });
  }

  /** What was shown beside what is answered, as it goes into the book. */
  shownWith(sug: Likely, model_rev: number = this.now.state?.model_rev ?? 0): Shown {
    return { class: sug.class, p: sug.p, model_rev, shown: !this.now.settings.hide };
  }

  /** One decision on one or many pictures; the id of its event. */
  decide(
    subjects: readonly Subject[], reply: Reply, from: string, ms?: number,
    beside: { suggestion?: Shown; seen_rev?: number } = {},
  ): string | null {
    const { state } = this.now;
    const tooMany = texts.tooMany(subjects.length);
    if (!state || subjects.length === 0 || tooMany) {
      if (tooMany) this.tell(tooMany, "careful");
      return null;
    }
    const { class: id, name, state: set } = this.described(reply);
    const target: Standing = set
      ? { state: set, class: null }
      : { state: "labelled", class: id ?? null, source: "hand" };
    const ids = subjects.map((s) => s.id);
    return this.submit({
      body: { ...answerTo(ids, this.described(reply)), from, ...(ms === undefined ? {} : { ms }), ...beside },
      text: texts.answered(ids.length, set ? { state: set } : { name: name ?? "" }),
      changes: subjects.map((s) => ({
        from: {
          state: s.state ?? "open", class: s.class ?? null, source: s.source ?? null,
          sure: s.sure ?? false,
        },
        to: target,
      })),
      overlay: new Map(ids.map((picture) => [picture, target])),
    });
  }

  /** Shows a decision as done and sends it; the id of its event. */
  submit({ body, text, changes = [], overlay }: Sent): string {
    const item = this.outbox.add("events", { seen_rev: this.now.state?.label_rev ?? 0, ...body });
    this.app.set({
      overlay: overlay ? new Map([...this.now.overlay, ...overlay]) : this.now.overlay,
      said: text, note: null, started: true,
      waiting: [...this.now.waiting, { id: item.id, changes, text }],
    });
    return item.id;
  }

  follow(follower: Follower): () => void {
    this.followers.add(follower);
    return () => this.followers.delete(follower);
  }

  /** A class by the name that was typed: the one that has it, or a new one. */
  named(name: string): Reply {
    const owner = this.classes.find((c) => sameName(c.name, name));
    if (owner) return { class: owner.id };
    const provisional: ClassInfo = {
      id: this.nextProvisional--, name, key: freeKey(this.classes), look: -1,
      archived: false, merged_into: null, pictures: 0, by_you: 0, in_groups: 0, by_model: 0,
      guide: { text: "", examples: [], nots: [] },
    };
    this.app.set({ provisional: [...this.now.provisional, provisional] });
    return { class: provisional.id };
  }

  described(reply: Reply): { class?: number; name?: string; state?: string } {
    if ("state" in reply) return { state: reply.state };
    if ("name" in reply) return { name: reply.name };
    const name = this.classes.find((c) => c.id === reply.class)?.name;
    return { class: reply.class, ...(name === undefined ? {} : { name }) };
  }

  undo(): void {
    if (!this.undoText) return this.tell("There is nothing left to undo.");
    this.outbox.add("undo");
    if (!this.connected) this.tell("Undo waits until handful runs again.");
  }

  redo(): void {
    if (!this.now.state?.redo && this.outbox.waiting.length === 0) {
      return this.tell("There is nothing to redo.");
    }
    this.outbox.add("redo");
  }

  get connected(): boolean {
    return this.now.live && (this.now.status.connected || this.now.status.refused !== null);
  }

  // ---------------------------------------------------------------- the queue

  step(by: 1 | -1): void {
    this.app.set({ line: queue.stepped(this.now.line, by) });
    this.shownSince = performance.now();
    void this.serve();
  }

  show(id: string): void {
    this.app.set({ line: queue.shownAt(this.now.line, id) });
    this.shownSince = performance.now();
  }

  /** A picture did not load: left out, and true, where its file is to blame; else it stays. */
  async failed(id: string): Promise<boolean> {
    try {
      if ((await api.image(id)).picture.presence === "here") return false;
    } catch (error) {
      if (!(error instanceof Refused && error.status === 404)) return false;
    }
    this.app.set({ line: queue.without(this.now.line, id) });
    this.shownSince = performance.now();
    void this.serve();
    return true;
  }

  /** Asks for more pictures while few are ahead. */
  async serve(): Promise<void> {
    const { served, line } = this.now;
    const first = served.mode === "first"; // it grows while pictures are found: ask it anew
    if (served.loading || (served.over && !first) || queue.ahead(line) >= this.low) return;
    this.app.set({ served: { ...served, loading: true } });
    try {
      const reply = await api.queue(SERVE, served.mode, first && served.over ? null : served.cursor);
      if (this.now.served.mode !== served.mode) return;
      const waited = queue.current(this.now.line) === null;
      const grown = queue.grown(this.now.line, reply.items, reply);
      const over = reply.next === null;
      const few = queue.ahead(grown) <= 1 || !this.now.state?.scanning;
      this.looked ||= first && (!reply.blind || (over && few));
      const mode = first && this.looked ? "useful" : served.mode;
      const rest = over ? Math.max(0, this.leftToAsk() - queue.unanswered(grown)) : 0;
      this.app.set({
        line: grown,
        served: mode === served.mode
          ? { mode, cursor: reply.next, over, loading: false, rest } : { ...UNSERVED, mode },
      });
      if (waited) this.shownSince = performance.now();
      if (mode !== served.mode) return void this.serve();
      // Nothing new though more is open: others are asked it now, and may leave it.
      if (!over && grown === line && this.now.state?.people) setTimeout(() => void this.serve(), WAIT);
      else if (!over && queue.ahead(grown) < this.low) void this.serve();
      // News that came meanwhile found the queue busy: look again.
      if (over) setTimeout(() => this.topUp(), AGAIN);
    } catch (error) {
      this.app.set({ served: { ...this.now.served, loading: false } });
      if (error instanceof Refused) this.tell(error.message, "careful");
      else setTimeout(() => void this.serve(), 2000);
    }
  }

  private get low(): number {
    return this.now.state?.people ? LOW_SHARED : LOW;
  }

  /** Begins the pass anew where more is open than stands in the line: pictures were found since
   *  the last one was served, or some were made open again. */
  private topUp(): void {
    const { served, line } = this.now;
    if (!served.over || served.loading) return;
    if (this.leftToAsk() <= queue.unanswered(line) + served.rest) return;
    this.app.set({ served: { ...served, cursor: null, over: false } });
    if (this.now.address.screen === "queue") void this.serve();
  }

  /** How many pictures count as left in the mode that is served. */
  private leftToAsk(): number {
    const { open, by_model, later, unsure } = this.counts ?? NOTHING;
    const { mode } = this.now.served;
    return mode === "later" ? later : mode === "unsure" ? unsure : open + by_model - later;
  }

  /** Suggestions are newer: the picture in view stays, and those that are loaded already. */
  private async renew(near: number): Promise<void> {
    const mode = this.modeOf(this.now.address);
    if (mode !== "useful" || !OPEN.has(this.now.served.mode)) return;
    try {
      const reply = await api.queue(SERVE, mode, null);
      const line = queue.renewed(this.now.line, reply.items, reply, near);
      this.app.set({ line, served: { ...UNSERVED, mode, cursor: reply.next, over: reply.next === null } });
    } catch {
      // The next news asks again; what is in the line can be answered meanwhile.
    }
  }

  /** Goes to what the newest suggestions are about, also where a blind picture is in view. */
  async showNewer(): Promise<void> {
    await this.renew(0);
    const entry = queue.current(this.now.line);
    if (entry?.blind && entry.answer === null) this.app.set({ line: queue.without(this.now.line, entry.id) });
    this.shownSince = performance.now();
    void this.serve();
  }

  // ---------------------------------------------------------------- classes

  /**
   * Runs a change of the classes and takes over what it gives; null where it was refused.
   * ``seen``: the revision that the person decided on, which a refusal brings up to date.
   */
  async change(
    run: (id: string, rev: number) => Promise<ClassMade>, seen?: { rev: number },
  ): Promise<ClassMade | null> {
    const { state } = this.now;
    if (!state) return null;
    try {
      const made = await run(this.outbox.newId(), seen?.rev ?? state.label_rev);
      this.app.set({
        state: {
          ...this.now.state!, classes: made.classes, label_rev: made.label_rev, undo: made.undo,
          redo: made.redo,
        },
        reload: this.now.reload + (made.moved ? 1 : 0),
        note: null,
      });
      void this.refresh();
      return made;
    } catch (error) {
      const gone = "handful is not running. Nothing was changed.";
      this.tell(error instanceof Refused ? error.message : gone, "careful");
      const known = () => { if (seen) seen.rev = this.now.state?.label_rev ?? seen.rev; };
      void this.refresh().then(known, () => undefined);
      return null;
    }
  }

  // ---------------------------------------------------------------- news

  tell(text: string, kind: Note["kind"] = "plain"): void {
    this.app.set({ note: { text, kind }, said: text });
  }

  set(change: Partial<Settings>): void {
    const settings = { ...this.now.settings, ...change };
    this.app.set({ settings });
    save(settings);
    dress(settings, document.documentElement);
  }

  begin(): void {
    this.app.set({ started: true });
    this.shownSince = performance.now();
  }

  /** Takes over what a request of its own has changed: what undo would take, and the revision. */
  acted(made: { label_rev: number; undo: Done | null; redo: Done | null }): void {
    const { label_rev, undo, redo } = made;
    this.app.set({ state: { ...this.now.state!, label_rev, undo, redo } });
    this.soon(REFRESH);
  }

  /** Says why a request was refused. */
  refuse(error: unknown): void {
    this.tell(complaint(error), "careful");
  }

  async refresh(): Promise<void> {
    const state = await api.state();
    if (state.label_rev < (this.now.state?.label_rev ?? 0)) return;
    const known = this.now.provisional.flatMap((p) => {
      const real = state.classes.find((c) => sameName(c.name, p.name) && !c.archived);
      return real ? [[p.id, real.id] as const] : [];
    });
    this.app.set({ state, shut: null, ...this.settled(new Map(known)) });
    this.topUp();
  }

  /** The page with the ids that the server has given to classes typed here. */
  private settled(real: ReadonlyMap<number, number>): Partial<App> {
    if (real.size === 0) return {};
    const { provisional, overlay, line } = this.now;
    const given = (id: number | null) => (id === null ? null : (real.get(id) ?? id));
    return {
      provisional: provisional.filter((p) => !real.has(p.id)),
      overlay: new Map([...overlay].map(([id, s]) => [id, { ...s, class: given(s.class) }])),
      line: {
        ...line,
        entries: line.entries.map((e) =>
          e.answer?.class === undefined
            ? e
            : { ...e, answer: { ...e.answer, class: given(e.answer.class)! } },
        ),
      },
    };
  }

  /** Asks for the state in a while; answers put that off, but not what is due before. */
  private soon(ms: number): void {
    if (ms >= REFRESH && this.urgent) return;
    clearTimeout(this.refreshing);
    this.urgent = ms < REFRESH;
    this.refreshing = setTimeout(() => {
      this.urgent = false;
      void this.refresh().catch(() => undefined);
    }, ms);
  }

  /** Lights the key of an answer for a moment. */
  glowFor(reply: Reply): void {
    this.glow("class" in reply ? `class-${reply.class}` : "state" in reply ? reply.state : "");
  }

  private glow(what: string): void {
    clearTimeout(this.flashing);
    this.app.set({ flash: what });
    this.flashing = setTimeout(() => this.app.set({ flash: "" }), FLASH);
  }

  private onStatus(status: Status): void {
    const before = this.now.status;
    this.app.set({ status });
    if (status.refused && status.refused !== before.refused) this.tell(status.refused, "careful");
    if (before.refused && !status.refused) this.app.set({ note: null });
    if (status.waiting === 0 && this.held) this.counted(this.held);
  }

  private onOutcome({ item, reply, result, error }: Outcome): void {
    const mine = this.now.waiting.find((w) => w.id === item.id);
    this.app.set({ waiting: this.now.waiting.filter((w) => w !== mine) });
    if (error !== null) {
      const { label_rev = this.now.state?.label_rev } = reply as { label_rev?: number };
      const line = queue.refused(this.now.line, item.id, label_rev ?? 0);
      this.app.set({ line, reload: this.now.reload + 1 });
      for (const follower of this.followers) follower.refused?.(item.id);
      this.tell(error, "careful");
      return this.soon(0);
    }
    if (item.to === "events") {
      this.stored(reply as unknown as Answered, mine?.changes ?? []);
      for (const follower of this.followers) follower.stored?.(item.id, result);
    } else this.reversed(reply as unknown as Undone, item.to);
    const made = typeof result["class_id"] === "number" && item.body["name"] !== undefined;
    this.soon(made ? 0 : REFRESH);
  }

  private stored(reply: Answered, changes: readonly Change[]): void {
    const state = this.now.state!;
    this.merge(reply, withClassChanges(state.classes, changes));
  }

  private reversed(reply: Undone, to: "undo" | "redo"): void {
    this.merge(reply, this.now.state!.classes);
    if (reply.event) this.replay(reply.event, to);
    this.app.set({ overlay: new Map(), reload: this.now.reload + 1 });
    this.tell(reply.text);
    this.soon(0);
  }

  /** Shows in the queue what was undone or done again. */
  private replay(event: HistoryLine, to: "undo" | "redo"): void {
    const { line, order } = this.now;
    for (const follower of this.followers) {
      if (to === "undo" ? follower.undone?.(event.id) : follower.redone?.(event.id)) return;
    }
    if (to === "undo") {
      const entry = line.entries.find((e) => e.answer?.event === event.id);
      if (!entry) return;
      this.taken.set(event.id, { id: entry.id, given: entry.answer! });
      this.app.set({ line: queue.taken(line, event.id), order: order.filter((e) => e !== event.id) });
      this.shownSince = performance.now();
      return;
    }
    const again = this.taken.get(event.id);
    if (!again) return;
    const shown = queue.shownAt(line, again.id);
    this.app.set({ line: queue.answered(shown, again.given), order: [...order, event.id] });
  }

  private merge(
    reply: { label_rev: number; counts: Counts; undo: Done | null; redo: Done | null },
    classes: ClassInfo[],
  ): void {
    const { label_rev, counts, undo, redo } = reply;
    const first_visit = false;
    this.app.set({
      state: { ...this.now.state!, label_rev, counts, undo, redo, classes, first_visit },
    });
    this.topUp();
  }

  private hear(news: News): void {
    for (const follower of this.followers) follower.news?.(news);
    if (news.kind === "down") return this.app.set({ live: false });
    if (news.kind === "up") {
      const back = !this.now.live;
      this.app.set({ live: true });
      this.soon(0); // what came between the state of this page and its stream was told to nobody
      if (back) {
        this.app.set({ reload: this.now.reload + 1 });
        this.outbox.retry();
        if (this.now.served.mode) void this.serve();
      }
      return;
    }
    if (news.kind === "counts") return this.counted(news.data as StreamCounts);
    if (news.kind === "task") return this.working(news.data as StreamTasks);
    if (LEARNED.has(news.kind)) return this.learned(news.kind, news.data as StreamLearned | null);
    if (news.kind === "people") return this.met(news.data as StreamPeople | null);
    if (news.kind === "advice") return this.advised(news.data as Advice | null);
    this.soon(200);
  }

  /** Counts from the stream wait while answers are on their way: both would count them. */
  private counted(news: StreamCounts): void {
    const { state, status } = this.now;
    if (!state || !news?.counts || news.label_rev < state.label_rev) return;
    if (status.waiting > 0) {
      this.held = news;
      return;
    }
    this.held = null;
    this.app.set({ state: { ...state, counts: news.counts, label_rev: news.label_rev } });
    this.topUp();
  }

  /** Something was computed anew: what is in view stays as it is. */
  private learned(kind: string, news: StreamLearned | null): void {
    const { state } = this.now;
    if (!state || !news) return;
    const first = state.first_look && !news.first_look;
    this.app.set({ state: { ...state, ...news } });
    if (kind !== "model" || this.now.served.mode === "") return;
    void this.renew(first ? 0 : NEAR);
  }

  private advised(advice: Advice | null): void {
    const { state } = this.now;
    if (state && advice?.text) this.app.set({ state: { ...state, advice } });
    else this.soon(0);
  }

  /** Who else answers, and how far they are. */
  private met(news: StreamPeople | null): void {
    const { state } = this.now;
    if (!state?.people || !news?.people) return;
    const { you } = state.people;
    const answers = news.people.find((one) => one.name === you)?.answers ?? state.people.answers;
    const others = news.people.filter((one) => one.name !== you);
    this.app.set({ state: { ...state, people: { ...state.people, answers, others } } });
  }

  private working(news: StreamTasks): void {
    const { state } = this.now;
    if (!state || !news?.tasks) return;
    const over = state.scanning && !news.scanning;
    const { tasks, scanning, trouble } = news;
    this.app.set({ state: { ...state, tasks, scanning, trouble } });
    if (over) this.soon(0);
  }
}

const OPEN: ReadonlySet<string> = new Set(["useful", "first", "random"]);
const LEARNED: ReadonlySet<string> = new Set(["model", "groups", "map", "features"]);
const NOTHING: Pick<Counts, "open" | "by_model" | "later" | "unsure"> = {
  open: 0, by_model: 0, later: 0, unsure: 0,
};

/** Modes that share a line keep it under one name. */
const lineOf = (mode: string): string => (OPEN.has(mode) ? "open" : mode);

/** The screen of an address; without one the gallery, once there are groups. */
function addressOf(hash: string, state: State | null): Address {
  const address = parse(hash);
  const bare = hash.replace(/^#?\/?/, "") === "";
  return bare && (state?.groups_rev ?? 0) > 0 ? { ...address, screen: "gallery" } : address;
}

/** The decision as the server takes it: one picture has a kind of its own. */
export function answerTo(
  ids: readonly string[], { state, class: id, name }: { state?: string; class?: number; name?: string },
): Json {
  if (state) return { kind: "state_set", images: ids, state };
  const target = id !== undefined && id >= 0 ? { class: id } : { name };
  return ids.length === 1
    ? { kind: "labelled", image: ids[0], ...target }
    : { kind: "group_labelled", images: ids, ...target };
}

function browserShelf(): Shelf {
  return {
    get: (key) => localStorage.getItem(key),
    set: (key, value) => localStorage.setItem(key, value),
    remove: (key) => localStorage.removeItem(key),
    keys: () => Object.keys(localStorage),
  };
}
