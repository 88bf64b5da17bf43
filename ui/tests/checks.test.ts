import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Audit, AuditResult, Reviewed } from "../src/api.types";
import { acceptOf } from "../src/app/accept";
import { api } from "../src/app/api";
import { auditOf } from "../src/app/audit";
import { chartOf } from "../src/app/map";
import { Model } from "../src/app/model";
import { Surface } from "../src/app/surface";
import { reviewOf } from "../src/app/review";
import * as words from "../src/logic/checks";
import { decoded, NO_CLASS, NONE_OF_THESE, revOf } from "../src/logic/points";
import * as queue from "../src/logic/queue";
import { mockServer, type MockServer } from "./mock.mjs";

type Handle = (method: string, path: string, body: any, query: URLSearchParams) => unknown;

let server: MockServer;
let model: Model;
let stop: () => void;
let asked: { path: string; body: any }[];

/** The book in memory, and before it what a test says of the paths that only it asks for. */
async function begin(handle: Handle, options: Parameters<typeof mockServer>[0] = {}): Promise<void> {
  server = mockServer({ modelRev: 1, firstLook: 400, ...options });
  asked = [];
  vi.stubGlobal("fetch", async (address: string, request: RequestInit = {}) => {
    const body = request.body ? JSON.parse(String(request.body)) : undefined;
    const url = new URL(address, "http://handful.invalid");
    const path = url.pathname.replace("/api/v1", "");
    const method = request.method ?? "GET";
    asked.push({ path, body });
    const own = handle(method, path, body, url.searchParams);
    if (own instanceof ArrayBuffer) return new Response(own);
    const { status, body: answer } = own === undefined ? server.handle(method, address, body) : { status: 200, body: own };
    return new Response(JSON.stringify(answer), { status: status as number });
  });
  model = new Model(await api.state());
  stop = model.start();
  await settled();
}

async function settled(): Promise<void> {
  await vi.waitFor(() => expect(model.outbox.waiting).toHaveLength(0));
  await new Promise((done) => setTimeout(done, 5));
}

beforeEach(() => {
  localStorage.clear();
  location.hash = "#/audit";
});
afterEach(() => {
  stop();
  vi.unstubAllGlobals();
});

describe("the blind check", () => {
  const result: AuditResult = {
    n: 60, k: 57, low: 0.86, high: 0.98, population: 400, unsure: 0, unlabelled: 0,
    text: "95.0 % of the labels are right: 57 of 60.", scope: "", caution: "", notes: [], classes: [],
    mistakes: 3, agreement: { shown_k: 0, shown_n: 0, hidden_k: 0, hidden_n: 0, text: null }, at: 0, label_rev: 0,
  };
  let closed: boolean;
  const given = () => server.pictures.filter((p) => p.source === "audit").length;
  const standing = (): Audit => ({
    answered: given(), wanted: 150, min: 30, closed,
    result: closed || [60, 150, 300].includes(given()) ? { ...result, n: given() } : null,
  });
  const handle: Handle = (_, path) => {
    if (path === "/audit") return standing();
    if (path === "/audit/close") return (closed = true), result;
    if (path === "/audit/more") return (closed = false), standing();
    return undefined;
  };
  async function sit() {
    closed = false;
    await begin(handle, { names: 400 });
    const sitting = auditOf(model);
    const leave = sitting.begin();
    const before = stop;
    stop = () => { leave(); before(); };
    await vi.waitFor(() => expect(queue.current(sitting.now.line)).not.toBeNull());
    return sitting;
  }

  it("sends answers as blind ones, with the next picture there at once", async () => {
    const sitting = await sit();
    const first = queue.current(sitting.now.line)!.id;
    sitting.answer(model.named("copepod"));
    expect(queue.current(sitting.now.line)!.id).not.toBe(first);
    expect(sitting.now.standing!.answered).toBe(1);
    sitting.answer({ state: "unsure" });
    await settled();
    const events = asked.filter((a) => a.path === "/events").flatMap((a) => a.body);
    expect(events).toMatchObject([
      { kind: "audit_answered", image: first, name: "copepod" }, { kind: "audit_answered", state: "unsure" },
    ]);
    expect(events[0]).not.toHaveProperty("suggestion");
    expect(model.undoText).not.toContain("p1"); // nothing names a file
  });

  it("asks what was put off again before it ends, and counts no answer for it", async () => {
    const sitting = await sit();
    const first = queue.current(sitting.now.line)!.id;
    sitting.answer({ state: "later" });
    expect(sitting.now.standing!.answered).toBe(0);
    expect(queue.current(sitting.now.line)!.id).not.toBe(first);
    await settled();
    expect(asked.filter((a) => a.path === "/events")).toEqual([]);
  });

  it("counts a changed answer once, and takes back what was undone", async () => {
    const sitting = await sit();
    const first = queue.current(sitting.now.line)!.id;
    sitting.answer(model.named("copepod"));
    sitting.step(-1);
    sitting.answer(model.named("nauplius"));
    expect(sitting.now.standing!.answered).toBe(1);
    await settled();
    model.undo();
    await settled();
    expect(sitting.now.standing!.answered).toBe(0);
    expect(queue.current(sitting.now.line)!.id).toBe(first);
  });

  it("shows the running number at 60 and hides it with the next answer", async () => {
    const sitting = await sit();
    sitting.answer(model.named("copepod"));
    await settled();
    for (let n = 1; n < 59; n++) {
      await vi.waitFor(() => expect(queue.current(sitting.now.line)).not.toBeNull());
      sitting.answer({ class: 0 });
      expect(sitting.now.result).toBeNull();
    }
    await settled();
    expect(sitting.now.result).toBeNull();
    sitting.answer({ class: 0 });
    await vi.waitFor(() => expect(sitting.now.result?.k).toBe(57));
    sitting.answer({ class: 0 });
    expect(sitting.now.result).toBeNull();
  });

  it("closes with a result, and goes on when more are asked", async () => {
    const sitting = await sit();
    sitting.answer(model.named("copepod"));
    await settled();
    await sitting.close();
    expect(sitting.asking).toBe(false);
    expect(sitting.now.result?.text).toContain("57 of 60");
    sitting.answer({ class: 0 });
    expect(sitting.now.standing!.answered).toBe(1); // nothing more is asked
    await sitting.more();
    expect(sitting.asking).toBe(true);
  });

  it("says how long the rest takes once there is a pace", async () => {
    const sitting = await sit();
    expect(sitting.left).toBeNull();
    for (let n = 0; n < 6; n++) {
      await new Promise((done) => setTimeout(done, 3));
      sitting.answer(model.named("copepod"));
    }
    expect(sitting.left).toMatch(/at your pace$/);
  });
});

describe("likely mistakes", () => {
  const seen = { id: "p9", v: null, w: 8, h: 8 };
  const items = (): Reviewed[] => server.pictures.slice(0, 3).map((picture) => ({
    picture: { ...picture, state: "labelled", class: 0, source: "hand" } as Reviewed["picture"],
    label: 0, to: 1, score: 0.9, near_label: [seen], near_to: [seen],
  }));
  const handle: Handle = (_, path, body) => {
    if (path === "/review") {
      return { items: items(), next: null, total: 3, looked: 14, wrong: 8, labels: 100, stale: false, model_rev: 1, label_rev: 0 };
    }
    if (path === "/events" && body[0].kind === "review_kept") {
      return { results: body.map((e: any) => ({ id: e.id, ok: true, seq: 1 })), ...rest() };
    }
    return undefined;
  };
  const rest = () => {
    const { label_rev, counts, undo, redo } = server.handle("GET", "/api/v1/state", undefined).body as any;
    return { label_rev, counts, undo, redo };
  };
  async function sit() {
    await begin(handle, { names: 12 });
    model.named("copepod");
    await api.newClass({ id: "a", seen_rev: 0, name: "copepod" });
    await api.newClass({ id: "b", seen_rev: 0, name: "nauplius" });
    await model.refresh();
    const sitting = reviewOf(model);
    const leave = sitting.begin();
    const before = stop;
    stop = () => { leave(); before(); };
    await vi.waitFor(() => expect(sitting.now.loaded).toBe(true));
    asked = [];
    return sitting;
  }
  const events = () => asked.filter((a) => a.path === "/events").flatMap((a) => a.body);

  it("keeps with one key, changes with one key, and says how many were wrong", async () => {
    const sitting = await sit();
    expect(sitting.score).toEqual({ looked: 14, wrong: 8 });
    sitting.keep();
    expect(sitting.now.at).toBe(1);
    sitting.change();
    expect(sitting.score).toEqual({ looked: 16, wrong: 9 });
    await settled();
    expect(events()).toMatchObject([
      { kind: "review_kept", image: "p0" }, { kind: "review_changed", image: "p1", class: 1 },
    ]);
  });

  it("takes the key of the label itself for keeping it", async () => {
    const sitting = await sit();
    sitting.reply({ class: 0 });
    await settled();
    expect(events()).toMatchObject([{ kind: "review_kept", image: "p0" }]);
  });

  it("passes over without a word to the book", async () => {
    const sitting = await sit();
    sitting.reply({ state: "later" });
    expect(sitting.now.at).toBe(1);
    await settled();
    expect(events()).toEqual([]);
    expect(sitting.score.looked).toBe(14);
  });

  it("shows a decision again that was undone", async () => {
    const sitting = await sit();
    sitting.step(1);
    sitting.change();
    await settled();
    model.undo();
    await settled();
    expect(sitting.now.at).toBe(1);
    expect(sitting.score).toEqual({ looked: 14, wrong: 8 });
  });
});

describe("accepting suggestions", () => {
  const sample = Array.from({ length: 40 }, (_, i) => ({ id: `p${i}`, v: null, w: 8, h: 8 }));
  let hash: string;
  const handle: Handle = (_, path, body) => {
    if (path === "/accept/preview") return { n: 900, set_hash: hash, sample, min: 30, p: body.p, model_rev: 1, label_rev: 0 };
    if (path === "/accept/check") {
      const n = body.sample_events.length;
      return { k: n < 30 ? null : n - 1, n, unsure: 0, low: n < 30 ? null : 0.8, high: n < 30 ? null : 0.99, text: n < 30 ? null : `${n - 1} of ${n} were right` };
    }
    if (path === "/accept") return { n: 900, seq: 1, label_rev: 99, counts: {}, undo: null, redo: null };
    return undefined;
  };
  async function sit() {
    hash = "a".repeat(64);
    await begin(handle, { names: 60 });
    const sitting = acceptOf(model);
    const leave = sitting.begin();
    const before = stop;
    stop = () => { leave(); before(); };
    await vi.waitFor(() => expect(sitting.now.preview).not.toBeNull());
    return sitting;
  }

  it("asks the sample in its order and judges it when it is over and stored", async () => {
    const sitting = await sit();
    sitting.ask();
    sitting.reply(model.named("copepod"));
    sitting.reply({ state: "later" }); // no picking
    sitting.reply({ state: "unsure" });
    expect(sitting.now.answers.map((a) => a.id)).toEqual(["p0", "p1"]);
    await settled();
    expect(sitting.now.checked).toBeNull();
    for (let i = 2; i < 40; i++) sitting.reply({ state: "none" });
    expect(sitting.now.asking).toBe(false);
    await vi.waitFor(() => expect(sitting.now.checked?.text).toBe("39 of 40 were right"));
    expect(asked.filter((a) => a.path === "/accept/check")).toHaveLength(1);
    await sitting.accept();
    const sent = asked.find((a) => a.path === "/accept")!.body;
    expect(sent).toMatchObject({ p: 0.97, set_hash: hash });
    expect(sent.sample_events).toHaveLength(40);
  });

  it("drops the answers when the set is another one", async () => {
    const sitting = await sit();
    sitting.ask();
    sitting.reply(model.named("copepod"));
    hash = "b".repeat(64);
    await settled();
    await sitting.look();
    expect(sitting.now.answers).toEqual([]);
    expect(sitting.now.asking).toBe(false);
  });

  it("asks again what was undone, and all behind it", async () => {
    const sitting = await sit();
    sitting.ask();
    for (let i = 0; i < 3; i++) sitting.reply({ state: "none" });
    await settled();
    model.undo();
    await settled();
    expect(sitting.now.answers.map((a) => a.id)).toEqual(["p0", "p1"]);
  });
});

describe("the map of this page", () => {
  let kept = 3; // the map that the server has
  interface Spot { x: number; y: number; class: number; state: number; sure: number }

  /** As the server writes it. */
  function block(points: readonly Spot[], { part = "", rev = 3 } = {}): ArrayBuffer {
    const n = points.length;
    const buffer = new ArrayBuffer(24 + (part ? 3 : 11) * n);
    new Uint8Array(buffer, 0, 4).set(new TextEncoder().encode("hmap"));
    new Uint32Array(buffer, 4, 5).set([1, rev, n, 9, 0]);
    let at = 24;
    const put = (Kind: any, values: number[]) => {
      new Kind(buffer, at, n).set(values);
      at += n * Kind.BYTES_PER_ELEMENT;
    };
    if (!part) {
      put(Uint32Array, points.map((_, i) => i + 1));
      put(Uint16Array, points.map((p) => p.x));
      put(Uint16Array, points.map((p) => p.y));
    }
    put(Uint8Array, points.map((p) => p.class));
    put(Uint8Array, points.map((p) => p.state));
    put(Uint8Array, points.map((p) => p.sure));
    return buffer;
  }
  const points: Spot[] = [
    { x: 100, y: 100, class: 0, state: 1, sure: 0 }, { x: 200, y: 100, class: 0, state: 0, sure: 250 },
    { x: 60000, y: 60000, class: NONE_OF_THESE, state: 0, sure: 120 },
    { x: 150, y: 110, class: NO_CLASS, state: 0, sure: 0 },
  ];
  const handle: Handle = (_, path, __, query) => {
    if (path === "/map") return block(points, { part: query.get("part") ?? "", rev: kept });
    const start = Number(query.get("start"));
    if (path === "/map/ids") return { ids: ["p0", "p1", "p2", "p3"].slice(start, start + 2), start, total: 4, rev: 3 };
    return undefined;
  };
  async function open() {
    await begin(handle, { names: 4 });
    await api.newClass({ id: "a", seen_rev: 0, name: "copepod" });
    await model.refresh();
    const chart = chartOf(model);
    await chart.load(3);
    await chart.subjects([]); // the ids are there
    return chart;
  }

  it("reads the block, takes what points are anew, and refuses what is cut off", () => {
    const data = decoded(block(points));
    expect(data).toMatchObject({ rev: 3, total: 9 });
    expect([...data.points.x]).toEqual([100, 200, 60000, 150]);
    expect([...data.class]).toEqual([0, 0, NONE_OF_THESE, NO_CLASS]);
    const changed = points.map((p) => ({ ...p, class: 5 }));
    const next = decoded(block(changed, { part: "labels" }), data);
    expect(next.points).toBe(data.points);
    expect([...next.class]).toEqual([5, 5, 5, 5]);
    expect(() => decoded(block(points).slice(0, 40))).toThrow("cut off");
    expect(() => decoded(block(changed, { part: "labels", rev: 4 }), data)).toThrow("cut off");
    expect(() => decoded(new ArrayBuffer(24))).toThrow("no map");
    expect(() => decoded(new ArrayBuffer(3))).toThrow("cut off");
    expect(revOf(block(points))).toBe(3);
  });

  it("gives points the paint of their class, of whether they are open, of how sure", async () => {
    const chart = await open();
    const [a, b, c, d] = chart.paints;
    expect(a).toBe(b); // a label and a suggestion of one class
    expect(c).toBe(d);
    expect(a).not.toBe(c);
    chart.colour("open");
    expect(chart.paints[0]).not.toBe(chart.paints[1]);
    expect(chart.paints[1]).toBe(chart.paints[2]);
    chart.colour("sure");
    expect(new Set(chart.paints).size).toBe(3);
    expect(chart.standing(1)).toMatchObject({ state: "open", class: null, guess: 0, none: false });
    expect(chart.standing(2)).toMatchObject({ guess: null, none: true });
  });

  it("selects by line, by corners, by nearness, and labels what is selected", async () => {
    const chart = await open();
    chart.around([{ x: 0, y: 0 }, { x: 500, y: 0 }, { x: 500, y: 500 }, { x: 0, y: 500 }], false);
    expect(chart.points).toEqual([0, 1, 3]);
    chart.between({ x: 70000, y: 70000 }, { x: 50000, y: 50000 }, true);
    expect(chart.now.chosen).toBe(4);
    chart.toggle(2);
    expect(chart.points).toEqual([0, 1, 3]);
    chart.state.set({ focus: 1 });
    chart.near(2);
    expect(chart.points).toEqual([1, 3]);
    const subjects = await chart.subjects(chart.points);
    expect(subjects.map((s) => s.id)).toEqual(["p1", "p3"]);
    model.decide(subjects, { class: 0 }, "map");
    chart.paint();
    expect(chart.standing(1)).toMatchObject({ state: "labelled", class: 0 });
    await settled();
    expect(server.pictures.filter((p) => p.class === 0).map((p) => p.id)).toEqual(["p1", "p3"]);
  });

  it("never selects what is not in the folder any more", async () => {
    const kept = points[3]!.state;
    points[3]!.state = 6;
    const chart = await open();
    chart.choose([1, 3]);
    expect(chart.points).toEqual([1]);
    points[3]!.state = kept;
  });

  it("takes a newer map where the one at hand is not kept any more", async () => {
    const chart = await open();
    kept = 4;
    await chart.load(3);
    expect(chart.now.rev).toBe(4);
    expect(chart.now.data!.points.n).toBe(4);
    kept = 3;
  });

  it("keeps the selection when only what points are has changed", async () => {
    const chart = await open();
    chart.choose([1, 2]);
    await chart.load(3);
    expect(chart.points).toEqual([1, 2]);
  });
});

describe("the hand on the map", () => {
  const at = (x: number, y: number, more: Partial<PointerEvent> = {}) =>
    ({ clientX: x, clientY: y, button: 0, pointerId: 1, shiftKey: false, preventDefault() {}, ...more }) as PointerEvent;
  const spots: [number, number][] = [[20000, 20000], [45000, 20000], [45000, 45000]];
  let picked: [number, boolean][], hovered: number;

  async function touch() {
    await begin((_, path) => {
      if (path === "/map/ids") return { ids: ["p0", "p1", "p2"], start: 0, total: 3, rev: 3 };
      if (path !== "/map") return undefined;
      const buffer = new ArrayBuffer(24 + 33);
      new Uint8Array(buffer, 0, 4).set(new TextEncoder().encode("hmap"));
      new Uint32Array(buffer, 4, 5).set([1, 3, 3, 3, 0]);
      new Uint16Array(buffer, 36, 6).set([...spots.map((s) => s[0]), ...spots.map((s) => s[1])]);
      return buffer;
    }, { names: 4 });
    const chart = chartOf(model);
    await chart.load(3);
    picked = [];
    const surface = new Surface(chart, () => ({
      hover: (point) => (hovered = point), pick: (point, more) => picked.push([point, more]), rest: () => undefined,
    }));
    surface.canvas = { getBoundingClientRect: () => ({ left: 100, top: 50 }), setPointerCapture() {} } as never;
    surface.resized(800, 600);
    const place = (point: number) => {
      const { x, y } = surface.spotOf(point);
      return [x + 100, y + 50] as const;
    };
    return { chart, surface, place };
  }
  function draw(surface: Surface, line: (readonly [number, number])[], more: Partial<PointerEvent> = {}) {
    surface.down(at(...line[0]!, more));
    for (const spot of line) surface.move(at(...spot, more));
    surface.up(at(...line.at(-1)!, more));
  }

  it("selects by a lasso, adds to it with Shift, and picks one by a click", async () => {
    const { chart, surface, place } = await touch();
    const around = (point: number) => {
      const [x, y] = place(point);
      return [[x - 20, y - 20], [x + 20, y - 20], [x + 20, y + 20], [x - 20, y + 20]] as [number, number][];
    };
    draw(surface, around(0));
    expect(chart.points).toEqual([0]);
    draw(surface, around(2), { shiftKey: true });
    expect(chart.points).toEqual([0, 2]);
    draw(surface, [place(1), place(1)]);
    expect(picked).toEqual([[1, false]]);
    surface.move(at(...place(2)));
    expect(hovered).toBe(2);
    surface.move(at(101, 51));
    expect(hovered).toBe(-1);
  });

  it("selects between two clicks without dragging, and lets go of the first by Esc", async () => {
    const { chart, surface, place } = await touch();
    surface.tool = "corners";
    const [x, y] = place(1), [u, v] = place(2);
    draw(surface, [[x - 5, y - 5]]);
    expect(surface.drop()).toBe(true);
    expect(surface.drop()).toBe(false);
    draw(surface, [[u + 5, v + 5]]);
    expect(chart.points).toEqual([]);
    draw(surface, [[x - 5, y - 5]]);
    expect(chart.points).toEqual([1, 2]);
  });

  it("moves the map with the hand, nears it with the wheel, with two fingers both", async () => {
    const { chart, surface, place } = await touch();
    surface.tool = "move";
    const [x, y] = place(0);
    draw(surface, [[300, 300], [340, 280]]);
    expect(place(0)).toEqual([expect.closeTo(x + 40), expect.closeTo(y - 20)]);
    expect(chart.points).toEqual([]);
    const scale = surface.view!.scale;
    const [p, q] = place(1);
    surface.wheel({ ...at(p, q), deltaY: -200, preventDefault() {} } as unknown as WheelEvent);
    expect(surface.view!.scale).toBeGreaterThan(scale * 1.2);
    expect(place(1)).toEqual([expect.closeTo(p), expect.closeTo(q)]);
    surface.tool = "lasso";
    const before = surface.view!.scale;
    surface.down(at(400, 300));
    surface.down(at(500, 300, { pointerId: 2 }));
    surface.move(at(600, 300, { pointerId: 2 }));
    expect(surface.view!.scale).toBeCloseTo(before * 2);
    surface.up(at(600, 300, { pointerId: 2 }));
    surface.up(at(400, 300));
    expect(chart.points).toEqual([]);
    expect(picked).toEqual([]);
  });

  it("brings what comes into focus into view, and shows the whole again", async () => {
    const { chart, surface } = await touch();
    chart.state.set({ focus: 0 });
    surface.zoom(20);
    expect(surface.inView).toEqual([0]);
    surface.reveal(2);
    expect(surface.spotOf(2)).toEqual({ x: expect.closeTo(400), y: expect.closeTo(300) });
    expect(surface.middle).toBe(2);
    surface.resized(600, 600);
    expect(surface.middle).not.toBe(0); // the view stays where it was
    surface.showWhole();
    expect(surface.inView).toEqual([0, 1, 2]);
    surface.resized(1600, 300); // the whole stays the whole
    expect(surface.inView).toEqual([0, 1, 2]);
    expect(surface.spotOf(0).y).toBeGreaterThan(0);
  });
});

describe("words", () => {
  it("name the cell of the table, in the address and aloud", () => {
    expect(words.cellText(14, "nauplius", "copepod")).toBe("14 nauplius that look like copepod");
    expect(words.cellText(1, "a", "b", "audit")).toBe("1 a answered blind as b");
    for (const [kind, label, to] of [["cell", 3, 4], ["audit", null, 0], ["cell", 7, null]] as const) {
      expect(words.cellOf(words.cellPart(kind, label, to))).toEqual({ kind, label, to });
    }
    expect(words.cellOf("cell:x:1")).toBeNull();
  });

  it("take a share however it is typed", () => {
    for (const text of ["0.97", "0,97", ".97", "97 %", "97%", "97"]) expect(words.shareOf(text)).toBeCloseTo(0.97);
    for (const text of ["", "much", "-1", "1.2.3", "101 %"]) expect(words.shareOf(text)).toBeNull();
    expect(words.shareOf("1")).toBe(1);
  });

  it("say what the screens of ux say", () => {
    expect(words.firstCheck(60)).toBe("First check 60 of them blind.");
    expect(words.acceptable(9812)).toBe("9,812 pictures");
    expect(words.sampled(180000, 50000)).toBe("Showing 50,000 of 180,000 points, all selected ones included.");
    expect(words.sourceWords("hand")).toBe("by you");
    expect(words.sourceWords(null)).toBe("");
  });
});
