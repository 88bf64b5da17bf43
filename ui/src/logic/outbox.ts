/**
 * Answers on their way to the book.
 *
 * Every answer is kept in the browser's storage before it is sent and until the server has said
 * that it is written.  Each has an id of its own, so that sending one twice does no harm: after
 * a lost connection, after a closed tab, or from two tabs at once.  Order is kept.
 */

export type Json = Record<string, unknown>;

export interface Item {
  id: string; // the event's id
  order: string; // sorts as it was answered
  to: "events" | "undo" | "redo";
  body: Json;
}

export interface Reply {
  status: number; // 0: nobody answered
  body: Json;
}

export type Send = (path: string, body: unknown) => Promise<Reply>;

export interface Shelf {
  get(key: string): string | null;
  set(key: string, value: string): void;
  remove(key: string): void;
  keys(): string[];
}

export interface Status {
  waiting: number;
  connected: boolean;
  refused: string | null; // why the server keeps saying no, in its words
}

export interface Outcome {
  item: Item;
  reply: Json; // the whole answer, with counts and undo as they are now
  result: Json; // what became of this item
  error: string | null; // the item was refused for good, and why
}

export interface OutboxOptions {
  project: string;
  shelf: Shelf;
  send: Send;
  onStatus: (status: Status) => void;
  onOutcome: (outcome: Outcome) => void;
  tab?: string;
  now?: () => number;
  wait?: (ms: number, then: () => void) => void;
}

const BATCH = 100;
const DISK_FULL = "E4";
const PATIENCE = [500, 1000, 2000, 4000, 5000]; // ms between tries

export class Outbox {
  private items: Item[] = [];
  private sending = false;
  private failures = 0;
  private refused: string | null = null;
  private counter = 0;
  private readonly tab: string;
  private readonly prefix: string;
  private readonly alone = new Set<string>(); // of a batch refused as a whole: each goes by itself

  constructor(private readonly options: OutboxOptions) {
    this.prefix = `handful.out.${options.project}.`;
    this.tab = options.tab ?? newTab();
  }

  /** Takes up what an earlier page has left, and sends it. */
  start(): void {
    this.adopt();
    this.tell();
    void this.flush();
  }

  get waiting(): readonly Item[] {
    return this.items;
  }

  /** An id for an event of this tab. */
  newId(): string {
    return `${this.tab}.${this.counter++}`;
  }

  add(to: Item["to"], body: Json = {}): Item {
    const at = String((this.options.now ?? Date.now)()).padStart(15, "0");
    const order = `${at}.${String(this.counter).padStart(9, "0")}`;
    const id = this.newId();
    const item: Item = { id, order, to, body: { ...body, id } };
    this.items.push(item);
    this.keep(item);
    this.tell();
    void this.flush();
    return item;
  }

  /** Tries again at once: the network is back, or the person asked. */
  retry(): void {
    this.failures = 0;
    void this.flush();
  }

  private adopt(): void {
    const kept = this.options.shelf
      .keys()
      .filter((key) => key.startsWith(this.prefix))
      .map((key) => read(this.options.shelf.get(key)))
      .filter((item): item is Item => item !== null);
    const known = new Set(this.items.map((item) => item.id));
    this.items.push(...kept.filter((item) => !known.has(item.id)));
    this.items.sort((a, b) => (a.order < b.order ? -1 : a.order > b.order ? 1 : 0));
  }

  private keep(item: Item): void {
    try {
      this.options.shelf.set(this.keyOf(item), JSON.stringify(item));
    } catch {
      // A full shelf: the answer still waits in memory and the mark says how many do.
    }
  }

  private keyOf(item: Item): string {
    return this.prefix + item.order + "." + item.id;
  }

  private tell(): void {
    this.options.onStatus({
      waiting: this.items.length,
      connected: this.failures === 0,
      refused: this.refused,
    });
  }

  async flush(): Promise<void> {
    if (this.sending) return;
    this.sending = true;
    try {
      while (this.items.length > 0) {
        const batch = this.head();
        const reply = await this.post(batch);
        if (!this.take(batch, reply)) {
          this.later();
          return;
        }
      }
    } finally {
      this.sending = false;
      this.tell();
    }
  }

  /** The next items that go in one request: a run of events, or one of anything else. */
  private head(): Item[] {
    const first = this.items[0]!;
    if (first.to !== "events" || this.alone.has(first.id)) return [first];
    const stop = this.items.findIndex((item) => item.to !== "events" || this.alone.has(item.id));
    return this.items.slice(0, Math.min(BATCH, stop < 0 ? this.items.length : stop));
  }

  private async post(batch: Item[]): Promise<Reply> {
    const first = batch[0]!;
    const body = first.to === "events" ? batch.map((item) => item.body) : first.body;
    try {
      return await this.options.send(`/${first.to}`, body);
    } catch {
      return { status: 0, body: {} };
    }
  }

  /** Whether the batch is dealt with; else it stays first in line. */
  private take(batch: Item[], reply: Reply): boolean {
    if (notNow(reply)) {
      this.failures += 1;
      this.refused = reply.status === 0 ? null : sentence(reply.body["error"]);
      return false;
    }
    this.failures = 0;
    this.refused = null;
    if (reply.status >= 400) {
      const why = sentence(reply.body["error"]);
      // One bad answer must not take the others with it.
      if (batch.length > 1) for (const item of batch) this.alone.add(item.id);
      else this.finish(batch[0]!, reply.body, {}, why);
    } else if (batch[0]!.to === "events") {
      if (!this.takeEach(batch, reply.body)) return false;
    } else {
      this.finish(batch[0]!, reply.body, reply.body, null);
    }
    this.tell();
    return true;
  }

  /** The results of a batch of events; false when the book could not take one of them now. */
  private takeEach(batch: Item[], body: Json): boolean {
    const results = new Map(((body["results"] ?? []) as Json[]).map((r) => [r["id"], r]));
    let stored = true;
    for (const item of batch) {
      const result = results.get(item.id) ?? { ok: true };
      const failure = result["error"] as Json | undefined;
      if (result["ok"] === false && failure?.["id"] === DISK_FULL) {
        this.refused = sentence(failure);
        stored = false;
        continue;
      }
      this.finish(item, body, result, result["ok"] === false ? sentence(failure) : null);
    }
    if (!stored) this.failures += 1;
    return stored;
  }

  private finish(item: Item, reply: Json, result: Json, error: string | null): void {
    this.items = this.items.filter((other) => other !== item);
    this.alone.delete(item.id);
    this.options.shelf.remove(this.keyOf(item));
    this.options.onOutcome({ item, reply, result, error });
  }

  private later(): void {
    const ms = PATIENCE[Math.min(this.failures, PATIENCE.length) - 1] ?? PATIENCE[0]!;
    (this.options.wait ?? ((time, then) => void setTimeout(then, time)))(ms, () => {
      void this.flush();
    });
  }
}

/** Nobody there, a server in trouble, a door that is shut: all may pass; the answer waits. */
function notNow({ status }: Reply): boolean {
  return status === 0 || status >= 500 || status === 403 || status === 429;
}

function read(text: string | null): Item | null {
  try {
    const item = JSON.parse(text ?? "") as Item;
    return typeof item.id === "string" && typeof item.order === "string" ? item : null;
  } catch {
    return null;
  }
}

function sentence(failure: unknown): string {
  const text = (failure as Json | undefined)?.["text"];
  return typeof text === "string" ? text : "The answer was refused.";
}

/** Random enough to be the only one, also where the page is not a secure context. */
function newTab(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(9));
  return Array.from(bytes, (b) => b.toString(36).padStart(2, "0")).join("");
}
