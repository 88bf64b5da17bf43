import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Group } from "../src/api.types";
import { api } from "../src/app/api";
import { galleryOf, type Gallery } from "../src/app/gallery";
import { Model } from "../src/app/model";
import * as gallery from "../src/logic/gallery";
import { movedOn, sheetOf, slotsOf } from "../src/logic/sheet";
import * as texts from "../src/logic/texts";
import { mockServer, type MockServer } from "./mock.mjs";

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

describe("the page of a group", () => {
  it("shows 24 typical and 12 least typical tiles without scrolling at 1280 x 720", () => {
    const sheet = sheetOf(184, 1040, 460, 136);
    expect(sheet.typical).toBeGreaterThanOrEqual(24);
    expect(sheet.edge).toBe(12);
    expect(sheet.tile).toBeGreaterThanOrEqual(96);
    expect(sheet.rows * (sheet.tile + 4)).toBeLessThanOrEqual(464);
    const columns = sheet.typicalColumns + sheet.edgeColumns;
    expect(columns * (sheet.tile + 4) + 20).toBeLessThanOrEqual(1044);
  });

  it("shows 60 and more where there is room, and never more than there are", () => {
    const large = sheetOf(500, 1680, 820, 136);
    expect(large.typical + large.edge).toBeGreaterThanOrEqual(60);
    for (const n of [1, 2, 3, 5, 11, 30, 36, 37]) {
      const sheet = sheetOf(n, 1680, 820, 136);
      expect(sheet.typical + sheet.edge).toBe(n);
      expect(slotsOf(sheet)).toHaveLength(n);
    }
  });

  it("gives every tile a place of its own, both ends in every row", () => {
    const sheet = sheetOf(184, 1040, 460, 136);
    const slots = slotsOf(sheet);
    expect(new Set(slots.map((s) => `${s.row}.${s.column}`)).size).toBe(slots.length);
    expect(slots.filter((s) => s.edge).map((s) => s.index).sort((a, b) => a - b)).toEqual(range(0, 12));
    expect(slots.every((s) => s.edge === s.column >= sheet.typicalColumns)).toBe(true);
  });

  it("scrolls on a small screen and with large tiles, with both ends in view", () => {
    for (const sheet of [sheetOf(184, 330, 300, 136), sheetOf(184, 1040, 460, 192)]) {
      expect(sheet.typical).toBeGreaterThanOrEqual(24);
      expect(sheet.edge).toBe(12);
      expect(sheet.typicalColumns).toBeGreaterThan(0);
      expect(sheet.edgeColumns).toBeGreaterThan(0);
    }
    expect(sheetOf(184, 1040, 460, 192).tile).toBe(192);
  });

  it("moves between tiles by rows and columns, and holds at the ends", () => {
    const slots = slotsOf({ tile: 96, rows: 2, typicalColumns: 2, edgeColumns: 1, typical: 3, edge: 2 });
    // 0 1 | 2
    // 3   | 4
    expect(movedOn(slots, 0, "right")).toBe(1);
    expect(movedOn(slots, 1, "right")).toBe(2);
    expect(movedOn(slots, 2, "down")).toBe(4);
    expect(movedOn(slots, 1, "down")).toBe(3);
    expect(movedOn(slots, 4, "up")).toBe(2);
    expect(movedOn(slots, 0, "up")).toBe(0);
    expect(movedOn(slots, 4, "right")).toBe(4);
    expect([movedOn(slots, 3, "home"), movedOn(slots, 0, "end")]).toEqual([0, 4]);
    expect(movedOn(slots, 0, "pagedown")).toBe(3);
    expect(movedOn([], 3, "left")).toBe(0);
  });
});

const group = (id: string, ...ids: string[]): Group => (
  { id, n: ids.length, open: ids.length, rev: 1, likely: null, ids, typical: [], edge: [], aside: null }
);
const inView = (line: gallery.Line) => gallery.current(line)?.group.id ?? null;
const lineOf = (...groups: Group[]) => gallery.grown(gallery.EMPTY, groups, 7);

describe("the line of groups", () => {
  const three = lineOf(group("a", "1", "2", "3"), group("b", "4", "5"), group("c", "6"));

  it("goes on when a group is settled, and comes back to what was skipped", () => {
    let line = gallery.stepped(three, 1); // a is skipped
    line = gallery.answered(line, "e1", ["b"], ["4", "5"], "x");
    expect(inView(line)).toBe("c");
    line = gallery.answered(line, "e2", ["c"], ["6"], "x");
    expect(inView(line)).toBe("a");
    line = gallery.answered(line, "e3", ["a"], ["1", "2", "3"], "x");
    expect(inView(line)).toBeNull();
    expect(gallery.openEntries(line)).toEqual([]);
  });

  it("shows what is left of a group of which only a part was answered", () => {
    const line = gallery.answered(three, "e1", ["a"], ["1", "2"], null);
    expect(inView(line)).toBe("a");
    expect(gallery.left(line, gallery.current(line)!)).toEqual(["3"]);
    expect(inView(gallery.answered(line, "e2", ["a"], ["3"], null))).toBe("b");
  });

  it("takes back and does again any answer, whatever came after it", () => {
    let line = gallery.toggled(three, "a", ["2"], true);
    line = gallery.answered(line, "e1", ["a"], ["1", "3"], "x");
    line = gallery.answered(line, "e2", ["b"], ["4", "5"], "y");
    const back = gallery.taken(line, "e1")!;
    expect(inView(back)).toBe("a");
    expect(gallery.current(back)!.out).toEqual(new Set(["2"]));
    expect(gallery.left(back, gallery.current(back)!)).toEqual(["1", "2", "3"]);
    const again = gallery.again(back, "e1")!;
    expect(inView(again)).toBe("c");
    expect(again.answered).toEqual(line.answered);
    expect(gallery.taken(line, "unknown")).toBeNull();
  });

  it("puts two halves in the place of a group, and one in the place of two", () => {
    const cut = gallery.changed(three, "e1", ["b"], [group("b1", "4"), group("b2", "5")], 8);
    expect(cut.entries.map((e) => e.group.id)).toEqual(["a", "b1", "b2", "c"]);
    expect(inView(cut)).toBe("b1");
    const one = gallery.changed(cut, "e2", ["a", "c"], [group("ac", "1", "2", "3", "6")], 8);
    expect(one.entries.map((e) => e.group.id)).toEqual(["ac", "b1", "b2"]);
    const back = gallery.taken(gallery.taken(one, "e2")!, "e1")!;
    expect(new Set(back.entries.map((e) => e.group.id))).toEqual(new Set(["a", "b", "c"]));
    expect(inView(back)).toBe("b");
  });

  it("keeps what was reached when a newer list comes, and leaves out what is answered", () => {
    let line = gallery.answered(three, "e1", ["a"], ["1", "2", "3"], "x");
    line = gallery.stepped(line, 1);
    const newer = [group("n1", "2", "3"), group("n2", "4", "5", "6")];
    const next = gallery.renewed(line, 1, newer, 9);
    expect(next.entries.map((e) => e.group.id)).toEqual(["a", "b", "n1", "n2"]);
    expect(next.entries.map((e) => e.seen)).toEqual([7, 7, 9, 9]); // what others said since counts
    expect(inView(next)).toBe("n2"); // n1 is answered already
    const now = gallery.replaced(line, newer, 9);
    expect(now.entries.map((e) => e.group.id)).toEqual(["a", "n1", "n2"]);
    expect(inView(now)).toBe("n2");
  });

  it("orders cards for the overview without losing one", () => {
    const sure = { class: 0, p: 0.9, words: "fairly sure" as const };
    const entries = lineOf({ ...group("a", "1", "2"), likely: sure }, group("b", "3", "4", "5"), group("c", "6")).entries;
    const ids = (order: gallery.Order) => gallery.sorted(entries, order).map((e) => e.group.id);
    expect(ids("useful")).toEqual(["a", "b", "c"]);
    expect(ids("clear")).toEqual(["b", "a", "c"]);
    expect(ids("different")).toEqual(["b", "c", "a"]);
    expect(ids("small")).toEqual(["c", "a", "b"]);
  });
});

// ------------------------------------------------------------------ with a server

let server: MockServer;
let model: Model;
let groups: Gallery;
let stop = () => {};

async function begin(options: Parameters<typeof mockServer>[0] = {}): Promise<void> {
  server = mockServer({
    names: 60, firstVisit: false, groups: [range(0, 30), range(30, 40), range(40, 50)], ...options,
  });
  vi.stubGlobal("fetch", async (address: string, request: RequestInit = {}) => {
    const body = request.body ? JSON.parse(String(request.body)) : undefined;
    const { status, body: answer } = server.handle(request.method ?? "GET", address, body);
    return new Response(JSON.stringify(answer), { status });
  });
  model = new Model(await api.state());
  groups = galleryOf(model);
  stop = model.start();
  groups.enter();
  await settled();
}

async function settled(): Promise<void> {
  await vi.waitFor(() => {
    expect(model.outbox.waiting).toHaveLength(0);
    expect(groups.now.loading).toBe(false);
  });
  await new Promise((done) => setTimeout(done, 5));
}

const now = () => groups.current?.group.ids[0] ?? null;
const shown = (n: number) => groups.current!.group.ids.slice(0, n);
const states = (from: number, to: number) => server.pictures.slice(from, to).map((p) => p.state);
const events = () => server.requests.filter((r) => r.path === "/events").flatMap((r) => r.body as Record<string, unknown>[]);

beforeEach(() => {
  localStorage.clear();
  location.hash = "#/gallery";
});
afterEach(() => {
  stop();
  stop = () => {};
  vi.unstubAllGlobals();
});

describe("answering groups", () => {
  it("labels all but what was taken out, in one event that says what was seen", async () => {
    await begin();
    expect(groups.now.total).toBe(3);
    groups.toggle(["p3", "p4"], true);
    groups.answer(model.named("copepod"), shown(20), false);
    expect(now()).toBe("p30");
    expect(model.counts).toMatchObject({ in_groups: 28, by_you: 0, open: 32 });
    expect(model.undoText).toBe('28 images labelled "copepod"');
    await settled();
    expect(states(0, 30).filter((s) => s === "open")).toHaveLength(2);
    expect(model.counts).toMatchObject({ in_groups: 28, open: 32 });
    const [event] = events();
    expect(event).toMatchObject({
      kind: "group_labelled", name: "copepod", from: "gallery", group_rev: 1,
      taken_out: ["p3", "p4"], scope: texts.labelAll(28, null),
    });
    expect(event!["images"]).toHaveLength(28);
    expect(event!["shown"]).toEqual(range(0, 20).filter((i) => i !== 3 && i !== 4).map((i) => `p${i}`));
    expect(event).not.toHaveProperty("image");
  });

  it("labels only those shown, and then shows the rest of the group", async () => {
    await begin();
    groups.answer(model.named("x"), shown(20), true);
    expect(groups.scope([], false)).toEqual(range(20, 30).map((i) => `p${i}`));
    await settled();
    expect(events()[0]!["scope"]).toBe("Only the 20 shown");
    expect(events()[0]!["images"]).toHaveLength(20);
    groups.answer({ state: "unsure" }, [], false);
    await settled();
    expect(states(0, 30)).toEqual([...Array(20).fill("labelled"), ...Array(10).fill("unsure")]);
    expect(now()).toBe("p30");
  });

  it("undoes group after group, shows each again, and does them again", async () => {
    await begin();
    groups.answer(model.named("a"), [], false);
    groups.answer(model.named("b"), [], false);
    await settled();
    const before = server.pictures.map((p) => [p.state, p.class]);
    model.undo();
    await settled();
    expect(now()).toBe("p30");
    expect(model.counts).toMatchObject({ in_groups: 30, open: 30 });
    model.undo();
    await settled();
    expect(now()).toBe("p0");
    model.redo();
    await settled();
    expect(now()).toBe("p30");
    model.redo();
    await settled();
    expect(now()).toBe("p40");
    expect(server.pictures.map((p) => [p.state, p.class])).toEqual(before);
  });

  it("answers several ticked groups as one decision", async () => {
    await begin();
    const ids = groups.now.line.entries.slice(0, 2).map((e) => e.group.id);
    groups.answerAll(ids, model.named("z"), []);
    await settled();
    expect(events()).toHaveLength(1);
    expect(states(0, 40).every((s) => s === "labelled")).toBe(true);
    model.undo();
    await settled();
    expect(states(0, 60).every((s) => s === "open")).toBe(true);
    expect(gallery.openEntries(groups.now.line)).toHaveLength(3);
  });

  it("shows a group again when its answer is refused, and says why", async () => {
    await begin();
    groups.answer(model.named("a"), [], false);
    await settled();
    server.classes[0]!.archived = true;
    groups.answer({ class: 0 }, [], false);
    expect(now()).toBe("p40");
    await settled();
    expect(now()).toBe("p30");
    expect(model.now.note!.text).toMatch(/Nothing was done/);
    expect(model.counts).toMatchObject({ in_groups: 30, open: 30 });
  });

  it("halves, merges and puts aside; each is taken back by one undo", async () => {
    await begin();
    await groups.halve();
    expect(groups.current!.group.ids).toHaveLength(15);
    expect(groups.now.total).toBe(4);
    model.undo();
    await settled();
    expect(groups.current!.group.ids).toHaveLength(30);
    const [a, b] = groups.now.line.entries.map((e) => e.group.id);
    await groups.merge([a!, b!]);
    expect(groups.current!.group.ids).toHaveLength(40);
    groups.answer(model.named("x"), [], false);
    await settled();
    expect(states(0, 40).every((s) => s === "labelled")).toBe(true);
    await groups.aside([groups.current!.group.id], "mixed");
    expect(groups.current).toBeNull();
    model.undo();
    await settled();
    expect(now()).toBe("p40");
  });

  it("goes on with a whole group when a key comes while it is being halved", async () => {
    await begin();
    const cut = groups.halve();
    groups.answer(model.named("x"), [], false);
    await cut;
    await settled();
    expect(states(0, 30).filter((s) => s === "labelled")).toHaveLength(15); // the half that is in view
  });

  it("asks pairs that look alike once, and makes one group of the same", async () => {
    await begin({ near: [["1.0", "1.1"], ["1.1", "1.2"], ["1.0", "9.9"]] });
    expect(groups.cards).toEqual([["1.0", "1.1"], ["1.1", "1.2"]]);
    await groups.pair(groups.cards[1]!, "different");
    await settled();
    expect(events()[0]).toMatchObject({ kind: "pair_answered", a: "1.1", b: "1.2", answer: "different" });
    model.undo();
    await settled();
    expect(groups.cards).toHaveLength(2);
    await groups.pair(groups.cards[0]!, "same");
    expect(groups.current!.group.ids).toHaveLength(40);
    expect(groups.cards).toEqual([]);
  });
});

describe("newer groups", () => {
  const news = (kind: string) => (model as unknown as { hear: (news: unknown) => void }).hear(
    { kind, data: { model_rev: 1, groups_rev: server.groupsRev, map_rev: 0, features: null, first_look: false } },
  );

  it("wait until the group in view is left, and follow it then", async () => {
    await begin();
    server.regroup([range(0, 10), range(10, 45), range(45, 60)]);
    news("groups");
    await vi.waitFor(() => expect(groups.now.newer).not.toBeNull());
    expect(groups.current!.group.ids).toHaveLength(30); // what is in view did not move
    groups.answer(model.named("x"), [], false);
    expect(groups.now.newer).toBeNull();
    expect(now()).toBe("p10");
    expect(groups.scope([], false)).toEqual(range(30, 45).map((i) => `p${i}`));
    await settled();
  });

  it("are shown at once when asked for", async () => {
    await begin();
    server.regroup([range(50, 60), range(0, 50)]);
    news("model");
    await vi.waitFor(() => expect(groups.now.newer).not.toBeNull());
    groups.showNewer();
    expect(now()).toBe("p50");
    expect(groups.now.total).toBe(2);
  });

  it("leave out what was answered on other screens meanwhile", async () => {
    await begin();
    model.decide([{ id: "p0" }, { id: "p1" }], model.named("y"), "grid");
    await settled();
    groups.enter();
    expect(groups.scope([], false)[0]).toBe("p2");
  });
});

describe("the sentences of the gallery", () => {
  it("are those of the page", () => {
    expect(texts.groupAt(7, 61)).toBe("Group 7 of 61");
    expect(texts.groupSize(184, 36)).toBe("184 pictures, 36 shown");
    expect(texts.labelAll(183, "copepod")).toBe("Label all 183 in this group: copepod");
    expect(texts.onlyShown(35)).toBe("Only the 35 shown");
    expect(texts.unseen(148)).toEqual({ text: "148 not on screen", many: false });
    expect(texts.unseen(1201)).toEqual({ text: "1,201 of them were never on screen", many: true });
    expect(texts.unseen(0)).toBeNull();
    expect(texts.groupsSoon(40)).toBe("Groups appear in about 40 s. Until then: Queue.");
    expect(texts.groupsMore(1516, 40)).toBe("These groups are answered. More appear in about 40 s: 1,516 pictures are still open.");
    expect(texts.groupsMore(1, null)).toBe("These groups are answered. More appear soon: 1 picture is still open.");
    expect(texts.groupsDone(3654)).toBe("Every group is answered. 3,654 pictures are still open.");
    expect(texts.TOO_FEW).toBe("Too few pictures for groups. Use the queue.");
    expect(texts.FIRST_LOOK).toBe("No suggestions yet. These pictures are random and count for your audit.");
  });
});
