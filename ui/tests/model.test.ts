import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { api } from "../src/app/api";
import { Model } from "../src/app/model";
import * as queue from "../src/logic/queue";
import { mockServer, type MockServer } from "./mock.mjs";

let server: MockServer;
let model: Model;
let stop: () => void;
let gate: Promise<void> | null; // holds the server's replies back

async function begin(options: Parameters<typeof mockServer>[0] = {}): Promise<void> {
  server = mockServer(options);
  gate = null;
  vi.stubGlobal("fetch", async (address: string, request: RequestInit = {}) => {
    const body = request.body ? JSON.parse(String(request.body)) : undefined;
    const { status, body: answer } = server.handle(request.method ?? "GET", address, body);
    await gate;
    return new Response(JSON.stringify(answer), { status });
  });
  model = new Model(await api.state());
  stop = model.start();
  await settled();
}

async function settled(): Promise<void> {
  await vi.waitFor(() => {
    expect(model.outbox.waiting).toHaveLength(0);
    expect(model.now.served.loading).toBe(false);
  });
  await new Promise((done) => setTimeout(done, 5));
}

beforeEach(() => {
  localStorage.clear();
  location.hash = "#/queue";
});
afterEach(() => {
  stop();
  vi.unstubAllGlobals();
});

const inView = () => queue.current(model.now.line)?.id ?? null;
const states = () => server.pictures.map((p) => p.state);

describe("answering", () => {
  it("shows the next picture and the new counts before the server has answered", async () => {
    await begin({ names: 5 });
    model.answer(model.named("copepod"));
    expect(inView()).toBe("p1");
    expect(model.counts).toMatchObject({ by_you: 1, open: 4 });
    expect(model.classes.map((c) => [c.name, c.key, c.pictures])).toEqual([["copepod", "1", 1]]);
    expect(model.undoText).toBe('1 image labelled "copepod"');
    await settled();
    expect(server.pictures[0]).toMatchObject({ state: "labelled", class: 0 });
    expect(model.counts).toMatchObject({ by_you: 1, open: 4 });
  });

  it("makes one class of a name that is used again before the server knows it", async () => {
    await begin({ names: 5 });
    let open = () => {};
    gate = new Promise((done) => (open = done));
    const reply = model.named("copepod");
    model.answer(reply);
    model.answer(model.named(" Copepod "));
    model.answer(reply);
    open();
    gate = null;
    await settled();
    await vi.waitFor(() => expect(model.now.provisional).toEqual([]));
    expect(server.classes).toHaveLength(1);
    expect(server.pictures.filter((p) => p.class === 0)).toHaveLength(3);
    expect(model.now.line.entries.slice(0, 3).map((e) => e.answer?.class)).toEqual([0, 0, 0]);
    expect(model.classes.map((c) => c.id)).toEqual([0]);
  });

  it("goes through all pictures once, in order, and then says that it is over", async () => {
    await begin({ names: 130 });
    model.answer(model.named("x"));
    await settled();
    for (let i = 1; i < 130; i++) {
      expect(inView()).toBe(`p${i}`);
      model.answer({ class: 0 });
      if (i % 5 === 0) await settled();
    }
    await settled();
    expect(inView()).toBeNull();
    expect(model.now.served.over).toBe(true);
    expect(states().every((s) => s === "labelled")).toBe(true);
    const events = server.requests.filter((r) => r.path === "/events").flatMap((r) => r.body as { id: string }[]);
    expect(new Set(events.map((e) => e.id)).size).toBe(130);
  });

  it("leaves out a picture whose file is to blame, and no other", async () => {
    await begin();
    const [first, second] = model.now.line.entries.map((e) => e.id);
    const presence = (is: string) => vi.spyOn(api, "image").mockResolvedValue(
      { picture: { presence: is } } as unknown as Awaited<ReturnType<typeof api.image>>,
    );
    presence("here"); // the connection failed
    expect(await model.failed(first!)).toBe(false);
    expect(inView()).toBe(first);
    presence("unreadable");
    expect(await model.failed(first!)).toBe(true);
    expect(inView()).toBe(second);
    expect(model.now.line.entries.some((e) => e.id === first)).toBe(false);
    vi.restoreAllMocks();
  });

  it("keeps the picture in view when one behind or before it is left out", () => {
    const entry = (id: string, done = false): queue.Entry => (
      {
        id, v: null, w: null, h: null, answer: done ? { event: `${id}.1`, class: 0 } : null,
        blind: false, model_rev: 0, seen: 0,
      }
    );
    const line = { entries: [entry("a", true), entry("b"), entry("c"), entry("d")], at: 2 };
    expect(queue.current(queue.without(line, "d"))?.id).toBe("c");
    expect(queue.current(queue.without(line, "b"))?.id).toBe("c");
    expect(queue.current(queue.without(line, "c"))?.id).toBe("d");
    expect(queue.without(line, "a")).toBe(line); // answered: it stays
    const back = { entries: [entry("a"), entry("b", true), entry("c")], at: 0 };
    expect(queue.current(queue.without(back, "a"))?.id).toBe("c");
  });

  it("keeps later and unsure apart, each with a queue and a way back", async () => {
    await begin({ names: 4 });
    for (const state of ["later", "unsure", "none", "broken"]) model.answer({ state });
    await settled();
    expect(states()).toEqual(["later", "unsure", "none", "broken"]);
    expect(model.counts).toMatchObject({ by_you: 3, open: 1, later: 1, unsure: 1 });
    location.hash = "#/queue?mode=unsure";
    window.dispatchEvent(new Event("hashchange"));
    await settled();
    expect(inView()).toBe("p1");
    model.answer(model.named("y"));
    await settled();
    expect(model.counts).toMatchObject({ unsure: 0, by_you: 3 });
    location.hash = "#/queue";
    window.dispatchEvent(new Event("hashchange"));
    await settled();
    model.step(-1); // what was answered before is still there to go back to
    expect(inView()).toBe("p3");
  });

  it("goes on when pictures are found after the last one was served", async () => {
    await begin({ names: 3 });
    const found = server.pictures.map((p) => ({ ...p, id: `${p.id}x` }));
    for (let i = 0; i < 3; i++) model.answer(model.named("x"));
    await settled();
    expect(inView()).toBeNull();
    server.add(found);
    await model.refresh();
    await settled();
    expect(inView()).toBe("p0x");
  });

  it("goes on when they are found while answers are on their way", async () => {
    await begin({ names: 3 });
    server.add(server.pictures.map((p) => ({ ...p, id: `${p.id}x` })));
    for (let i = 0; i < 3; i++) model.answer(model.named("x"));
    await settled();
    expect(inView()).toBe("p0x");
  });

  it("answers a selection at once, as one decision", async () => {
    await begin({ names: 6 });
    const subjects = ["p1", "p3", "p5"].map((id) => ({ id, state: "open" }));
    model.decide(subjects, model.named("z"), "grid");
    expect(model.undoText).toBe('3 images labelled "z"');
    await settled();
    expect(server.pictures.filter((p) => p.state === "labelled").map((p) => p.id)).toEqual(["p1", "p3", "p5"]);
    expect(server.requests.filter((r) => r.path === "/events")).toHaveLength(1);
    model.undo();
    await settled();
    expect(model.counts).toMatchObject({ by_you: 0, open: 6 });
    expect(model.now.reload).toBeGreaterThan(0);
  });

  it("sends nothing of more pictures than one answer may hold, and says so", async () => {
    await begin({ names: 2 });
    const many = Array.from({ length: 10_001 }, (_, i) => ({ id: `p${i}` }));
    expect(model.decide(many, { state: "none" }, "grid")).toBeNull();
    expect(model.now.note?.text).toMatch(/10,001 pictures/);
    expect(server.requests.some((r) => r.path === "/events")).toBe(false);
  });
});

describe("undo", () => {
  it("brings classes back at once, however fast the next answers are", async () => {
    await begin({ names: 9 });
    for (const name of ["a", "b"]) model.answer(model.named(name));
    await settled();
    const merged = server.classes[1] as { merged_into: number | null };
    const names = () => model.classes.map((c) => c.name);
    merged.merged_into = 0;
    await model.refresh();
    expect(names()).toEqual(["a"]);
    merged.merged_into = null; // as if the undo had parted them
    model.undo();
    await settled();
    for (let i = 0; i < 3; i++) {
      model.answer({ class: 0 });
      await settled();
    }
    await vi.waitFor(() => expect(names()).toEqual(["a", "b"]), { timeout: 500 });
  });

  it("goes back to the picture, names what it took, and redo gives it again", async () => {
    await begin({ names: 5 });
    for (const name of ["a", "b"]) model.answer(model.named(name));
    await settled();
    model.undo();
    await settled();
    expect(inView()).toBe("p1");
    expect(model.now.note?.text).toBe('Undone: 1 image labelled "b"');
    expect(model.counts).toMatchObject({ by_you: 1, open: 4 });
    expect(model.undoText).toBe('1 image labelled "a"');
    model.redo();
    await settled();
    expect(inView()).toBe("p2");
    expect(server.pictures[1]).toMatchObject({ state: "labelled", class: 1 });
    expect(model.counts).toMatchObject({ by_you: 2, open: 3 });
  });

  it("says when there is nothing left", async () => {
    await begin({ names: 2 });
    model.undo();
    expect(model.now.note?.text).toBe("There is nothing left to undo.");
    model.redo();
    expect(model.now.note?.text).toBe("There is nothing to redo.");
    expect(server.requests.some((r) => r.method === "POST")).toBe(false);
  });
});

describe("trouble", () => {
  it("keeps answers while the server is away, and counts them already", async () => {
    await begin({ names: 5 });
    model.answer(model.named("a"));
    await settled();
    server.up = false;
    model.answer({ class: 0 });
    model.answer({ class: 0 });
    await vi.waitFor(() => expect(model.now.status.connected).toBe(false));
    expect(model.now.status.waiting).toBe(2);
    expect(model.counts).toMatchObject({ by_you: 3, open: 2 });
    expect(model.connected).toBe(false);
    server.up = true;
    model.outbox.retry();
    await settled();
    expect(states().filter((s) => s === "labelled")).toHaveLength(3);
    expect(model.connected).toBe(true);
  });

  it("takes a refused answer back, shows its picture and the reason", async () => {
    await begin({ names: 5 });
    model.answer(model.named("a"));
    await settled();
    server.classes[0]!.archived = true; // another tab has archived it
    model.answer({ class: 0 });
    await settled();
    expect(inView()).toBe("p1");
    expect(model.now.note).toMatchObject({ kind: "careful" });
    expect(model.now.note!.text).toMatch(/Nothing was done/);
    expect(model.counts).toMatchObject({ by_you: 1, open: 4 });
  });

  it("says why a change of the classes was refused", async () => {
    await begin({ names: 2 });
    const make = (name: string) => model.change((id, seen_rev) => api.newClass({ id, seen_rev, name }));
    expect(await make("a")).not.toBeNull();
    expect(await make("A")).toBeNull();
    expect(model.now.note?.text).toMatch(/^There is already a class/);
    server.up = false;
    expect(await make("b")).toBeNull();
    expect(model.now.note?.text).toMatch(/Nothing was changed/);
  });
});

describe("first look and suggestions", () => {
  const events = () =>
    server.requests.filter((r) => r.path === "/events").flatMap((r) => r.body as Record<string, unknown>[]);
  const hear = (kind: string) => (model as unknown as { hear: (news: unknown) => void }).hear({
    kind, data: { model_rev: server.modelRev, groups_rev: 0, map_rev: 0, features: null, first_look: server.modelRev === 0 },
  });
  const suggest = (p: number) => {
    server.modelRev += 1;
    for (const picture of server.pictures) picture.sug = { class: 0, p, words: "fairly sure" };
    hear("model");
  };

  it("sends blind answers to the audit, then ordinary ones", async () => {
    await begin({ names: 30, firstLook: 3 });
    for (let i = 0; i < 5; i++) model.answer(model.named("x"));
    await settled();
    expect(events().map((e) => e["kind"])).toEqual([...Array(3).fill("audit_answered"), "labelled", "labelled"]);
    expect(events()[0]).toMatchObject({ image: "p0", name: "x" });
    expect(model.counts).toMatchObject({ by_you: 5, open: 25 });
    model.answer({ state: "unsure" });
    expect(model.undoText).toBe("1 image set to unsure");
    await settled();
  });

  it("puts a blind picture off as any other, and takes a blind answer back", async () => {
    await begin({ names: 30, firstLook: 5 });
    model.answer({ state: "later" });
    await settled();
    expect(events()[0]).toMatchObject({ kind: "state_set", state: "later" });
    model.answer(model.named("x"));
    model.undo();
    await settled();
    expect(inView()).toBe("p1");
    expect(model.counts).toMatchObject({ by_you: 0, open: 30, later: 1 });
  });

  it("keeps the picture in view when the first suggestions come, and shows them on the next", async () => {
    await begin({ names: 60, firstLook: 50 });
    model.answer(model.named("x"));
    await settled();
    suggest(0.9);
    await vi.waitFor(() => expect(model.now.served.mode).toBe("useful"));
    expect(inView()).toBe("p1");
    expect(queue.current(model.now.line)).toMatchObject({ blind: true });
    expect(queue.current(model.now.line)).not.toHaveProperty("sug");
    model.answer({ class: 0 });
    expect(queue.current(model.now.line)).toMatchObject({ blind: false, model_rev: 1, sug: { class: 0 } });
    await settled();
  });

  it("leaves a blind picture for the suggestions when asked to", async () => {
    await begin({ names: 60, firstLook: 50 });
    suggest(0.9);
    await vi.waitFor(() => expect(model.now.served.mode).toBe("useful"));
    await model.showNewer();
    expect(queue.current(model.now.line)).toMatchObject({ blind: false });
  });

  it("says with each answer what was suggested, how sure, and whether it was seen", async () => {
    await begin({ names: 30, modelRev: 2 });
    suggest(0.85);
    await vi.waitFor(() => expect(model.now.line.entries.at(-1)!.model_rev).toBe(3));
    for (let i = 0; i < 5; i++) model.answer(model.named("x"));
    model.set({ hide: true });
    model.answer({ state: "none" });
    await settled();
    expect(events()[4]!["suggestion"]).toEqual({ class: 0, p: 0.85, model_rev: 3, shown: true });
    expect(events()[5]!["suggestion"]).toMatchObject({ shown: false });
    expect(events()[0]).not.toHaveProperty("suggestion"); // it was in view before there was one
  });

  it("renews what is not reached, but for the three pictures that are loaded", async () => {
    await begin({ names: 60, modelRev: 1 });
    suggest(0.9);
    await vi.waitFor(() => expect(model.now.line.entries.at(-1)!.model_rev).toBe(2));
    expect(model.now.line.entries.slice(0, 6).map((e) => e.model_rev)).toEqual([1, 1, 1, 1, 2, 2]);
    expect(inView()).toBe("p0");
  });
});
