import { describe, expect, it } from "vitest";
import { Outbox, type Json, type Outcome, type Reply, type Shelf, type Status } from "../src/logic/outbox";

function shelf(): Shelf & { kept: Map<string, string> } {
  const kept = new Map<string, string>();
  return {
    kept,
    get: (key) => kept.get(key) ?? null,
    set: (key, value) => void kept.set(key, value),
    remove: (key) => void kept.delete(key),
    keys: () => [...kept.keys()],
  };
}

/** A server with a book: the same id twice is one event. */
class Server {
  up = true;
  full = false;
  book: Json[] = [];
  requests: { path: string; body: unknown }[] = [];
  losesReplies = 0;
  refuses: (event: Json) => boolean = () => false;

  send = async (path: string, body: unknown): Promise<Reply> => {
    await Promise.resolve();
    if (!this.up) throw new TypeError("Failed to fetch");
    this.requests.push({ path, body });
    if (path === "/events") return this.events(body as Json[]);
    this.once(body as Json, path);
    return this.lost({ status: 200, body: { event: null, text: "", label_rev: this.book.length } });
  };

  private events(events: Json[]): Reply {
    if (events.some((e) => e["malformed"])) {
      return { status: 400, body: { error: { id: "bad", text: "the request lacks 'image'" } } };
    }
    const results = events.map((event) => {
      if (this.full) return { id: event["id"], ok: false, error: { id: "E4", text: "The disk is full." } };
      if (this.refuses(event)) {
        return { id: event["id"], ok: false, error: { id: "E12", text: "This changed elsewhere." } };
      }
      this.once(event, "/events");
      return { id: event["id"], ok: true, seq: this.book.length };
    });
    return this.lost({ status: 200, body: { results, label_rev: this.book.length } });
  }

  private once(event: Json, path: string): void {
    if (!this.book.some((e) => e["id"] === event["id"])) this.book.push({ ...event, path });
  }

  private lost(reply: Reply): Reply {
    if (this.losesReplies-- > 0) throw new TypeError("connection reset");
    return reply;
  }
}

function setup(server = new Server(), shelves = shelf(), tab = "tab") {
  const statuses: Status[] = [];
  const outcomes: Outcome[] = [];
  const waits: { ms: number; then: () => void }[] = [];
  let now = 1000;
  const outbox = new Outbox({
    project: "plankton", shelf: shelves, send: server.send, tab,
    onStatus: (s) => statuses.push(s), onOutcome: (o) => outcomes.push(o),
    now: () => now++, wait: (ms, then) => void waits.push({ ms, then }),
  });
  const settle = async () => {
    for (let i = 0; i < 50; i++) await Promise.resolve();
  };
  const label = (image: string) => outbox.add("events", { kind: "labelled", image, class: 0 });
  return { server, shelves, statuses, outcomes, waits, outbox, settle, label };
}

const images = (server: Server) => server.book.map((e) => e["image"]);

describe("the outbox", () => {
  it("keeps an answer on the shelf until the server has stored it", async () => {
    const { outbox, shelves, settle, statuses, label } = setup();
    label("a");
    expect(shelves.kept.size).toBe(1);
    expect(statuses.at(-1)).toMatchObject({ waiting: 1, connected: true });
    await settle();
    expect(shelves.kept.size).toBe(0);
    expect(outbox.waiting).toHaveLength(0);
    expect(statuses.at(-1)).toEqual({ waiting: 0, connected: true, refused: null });
  });

  it("gives every event an id of this tab", () => {
    const { label } = setup();
    expect([label("a").id, label("b").id]).toEqual(["tab.0", "tab.1"]);
    expect(new Outbox({ ...setup()["outbox"]["options"], tab: undefined as never }).newId())
      .toMatch(/^[A-Za-z0-9_-]{1,64}\.[0-9]{1,12}$/);
  });

  it("stores 40 answers once each, in order, after a minute without a server", async () => {
    const { server, outbox, settle, statuses, waits, label } = setup();
    server.up = false;
    for (let i = 0; i < 40; i++) {
      label(`i${i}`);
      await settle();
    }
    expect(statuses.at(-1)).toEqual({ waiting: 40, connected: false, refused: null });
    server.up = true;
    waits.at(-1)!.then();
    await settle();
    expect(images(server)).toEqual(Array.from({ length: 40 }, (_, i) => `i${i}`));
    expect(outbox.waiting).toHaveLength(0);
  });

  it("doubles nothing when the reply is lost on the way", async () => {
    const { server, settle, waits, label } = setup();
    server.losesReplies = 2;
    label("a");
    label("b");
    await settle();
    waits.shift()!.then();
    await settle();
    waits.shift()!.then();
    await settle();
    expect(images(server)).toEqual(["a", "b"]);
    expect(server.requests.length).toBeGreaterThan(1);
  });

  it("sends what a closed tab has left, before its own", async () => {
    const first = setup();
    first.server.up = false;
    first.label("a");
    first.label("b");
    await first.settle();
    first.server.up = true;
    const second = setup(first.server, first.shelves, "next");
    second.outbox.start();
    second.label("c");
    await second.settle();
    expect(images(first.server)).toEqual(["a", "b", "c"]);
    expect(first.shelves.kept.size).toBe(0);
  });

  it("leaves alone what another project or another program has on the shelf", async () => {
    const shelves = shelf();
    shelves.set("handful.out.leaves.000.x", JSON.stringify({ id: "x", order: "0", to: "events", body: {} }));
    shelves.set("handful.out.plankton.000.y", "no JSON at all");
    shelves.set("other", "1");
    const { outbox, settle, server } = setup(new Server(), shelves);
    outbox.start();
    await settle();
    expect(server.book).toEqual([]);
    expect(shelves.kept.size).toBe(3);
  });

  it("keeps undo in its place among the answers", async () => {
    const { server, outbox, settle, waits, label } = setup();
    server.up = false;
    label("a");
    label("b");
    outbox.add("undo");
    label("c");
    await settle();
    server.up = true;
    waits.at(-1)!.then();
    await settle();
    expect(server.book.map((e) => e["image"] ?? e["path"])).toEqual(["a", "b", "/undo", "c"]);
    expect(server.requests.map((r) => r.path)).toEqual(["/events", "/undo", "/events"]);
  });

  it("sends at most a hundred at once", async () => {
    const { server, settle, waits, label } = setup();
    server.up = false;
    for (let i = 0; i < 250; i++) label(`i${i}`);
    await settle();
    server.up = true;
    waits.at(-1)!.then();
    await settle();
    expect(server.requests.map((r) => (r.body as Json[]).length)).toEqual([100, 100, 50]);
  });

  it("says why one answer was refused and goes on with the others", async () => {
    const { server, outcomes, settle, waits, label } = setup();
    server.refuses = (e) => e["image"] === "b";
    server.up = false;
    for (const image of ["a", "b", "c"]) label(image);
    await settle();
    server.up = true;
    waits.at(-1)!.then();
    await settle();
    expect(images(server)).toEqual(["a", "c"]);
    expect(outcomes.map((o) => o.error)).toEqual([null, "This changed elsewhere.", null]);
  });

  it("lets one malformed answer fail alone", async () => {
    const { server, outcomes, outbox, settle, waits, label } = setup();
    server.up = false;
    label("a");
    outbox.add("events", { kind: "labelled", malformed: true });
    label("c");
    await settle();
    server.up = true;
    waits.at(-1)!.then();
    await settle();
    expect(images(server)).toEqual(["a", "c"]);
    expect(outcomes.filter((o) => o.error).map((o) => o.error)).toEqual(["the request lacks 'image'"]);
    expect(outbox.waiting).toHaveLength(0);
  });

  it("waits while the disk is full, with the reason, and stores everything afterwards", async () => {
    const { server, statuses, shelves, settle, waits, label } = setup();
    server.full = true;
    label("a");
    await settle();
    expect(statuses.at(-1)).toEqual({ waiting: 1, connected: false, refused: "The disk is full." });
    expect(shelves.kept.size).toBe(1);
    server.full = false;
    waits.at(-1)!.then();
    await settle();
    expect(images(server)).toEqual(["a"]);
    expect(statuses.at(-1)).toMatchObject({ waiting: 0, refused: null });
  });

  it("tries less and less often, and at once when told so", async () => {
    const { server, outbox, settle, waits, label } = setup();
    server.up = false;
    label("a");
    for (let i = 0; i < 7; i++) {
      await settle();
      waits[i]!.then();
    }
    await settle();
    expect(waits.map((w) => w.ms)).toEqual([500, 1000, 2000, 4000, 5000, 5000, 5000, 5000]);
    server.up = true;
    outbox.retry();
    await settle();
    expect(images(server)).toEqual(["a"]);
  });

  it("goes on where the browser's storage is full", async () => {
    const shelves = shelf();
    shelves.set = () => {
      throw new DOMException("full", "QuotaExceededError");
    };
    const { server, settle, label } = setup(new Server(), shelves);
    label("a");
    await settle();
    expect(images(server)).toEqual(["a"]);
  });
});
