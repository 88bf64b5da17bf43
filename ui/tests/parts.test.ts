import { describe, expect, it } from "vitest";
import type { ClassInfo, Counts, Queued } from "../src/api.types";
import { DEFAULTS, loaded } from "../src/app/settings";
import { Gate } from "../src/logic/gate";
import { withChanges, withClassChanges, type Standing } from "../src/logic/overlay";
import * as queue from "../src/logic/queue";

const items = (...ids: string[]): Queued[] => ids.map((id) => ({ id, v: null, w: 8, h: 8 }));
const given = (event: string) => ({ event, class: 0, name: "x" });

describe("the queue", () => {
  it("goes to the next open picture after an answer, and wraps to skipped ones", () => {
    let line = queue.grown(queue.EMPTY, items("a", "b", "c"));
    line = queue.stepped(line, 1); // a is skipped
    line = queue.answered(line, given("1"));
    expect(queue.current(line)?.id).toBe("c");
    line = queue.answered(line, given("2"));
    expect(queue.current(line)?.id).toBe("a");
    line = queue.answered(line, given("3"));
    expect(queue.current(line)).toBeNull();
  });

  it("keeps with each picture the labels that it was served with, newer ones after a refusal", () => {
    const from = { blind: false, model_rev: 1, label_rev: 7 };
    let line = queue.grown(queue.EMPTY, items("a", "b"), from);
    line = queue.grown(line, items("b", "c"), { ...from, label_rev: 9 });
    expect(line.entries.map((e) => e.seen)).toEqual([7, 7, 9]);
    const given = queue.answered(line, { event: "e1", class: 0 });
    const back = queue.refused(given, "e1", 12);
    expect(queue.current(back)).toMatchObject({ id: "a", answer: null, seen: 12 });
    expect(back.entries.map((e) => e.seen)).toEqual([12, 7, 9]);
    expect(queue.refused(given, "another", 12)).toBe(given);
  });

  it("replaces an answer given before without moving what is open", () => {
    let line = queue.grown(queue.EMPTY, items("a", "b", "c"));
    line = queue.answered(line, given("1"));
    line = queue.stepped(line, -1);
    expect(queue.current(line)?.answer?.event).toBe("1");
    line = queue.answered(line, given("2"));
    expect(line.entries.map((e) => e.answer?.event ?? null)).toEqual(["2", null, null]);
    expect(queue.current(line)?.id).toBe("b");
  });

  it("never moves the picture in view when more is served, nor doubles one", () => {
    const line = queue.stepped(queue.grown(queue.EMPTY, items("a", "b")), 1);
    const more = queue.grown(line, items("b", "c", "a", "d"));
    expect(more.entries.map((e) => e.id)).toEqual(["a", "b", "c", "d"]);
    expect(queue.current(more)?.id).toBe("b");
    expect(queue.grown(more, items("c"))).toBe(more);
  });

  it("shows the picture of an answer that is taken back", () => {
    let line = queue.grown(queue.EMPTY, items("a", "b", "c"));
    for (const event of ["1", "2"]) line = queue.answered(line, given(event));
    line = queue.taken(line, "1");
    expect(queue.current(line)).toMatchObject({ id: "a", answer: null });
    expect(queue.taken(line, "unknown")).toBe(line);
    expect(queue.ahead(line)).toBe(2);
  });

  it("lists the last answers newest first", () => {
    let line = queue.grown(queue.EMPTY, items("a", "b", "c"));
    for (const event of ["1", "2", "3"]) line = queue.answered(line, given(event));
    expect(queue.lately(line, 2, ["1", "2", "gone", "3"]).map((e) => e.id)).toEqual(["c", "b"]);
    expect(queue.current(queue.shownAt(line, "b"))?.id).toBe("b");
    expect(queue.shownAt(line, "z")).toBe(line);
  });
});

describe("counts before the server has said them", () => {
  const counts: Counts = {
    pictures: 10, by_you: 2, in_groups: 1, by_model: 0, open: 7, later: 1, unsure: 1, none: 0,
    broken: 0, missing: 0, problems: 0, others: 0,
  };
  const all: Standing[] = [
    ...["open", "later", "unsure", "none", "broken"].map((state) => ({ state, class: null })),
    { state: "labelled", class: 0, source: "hand" }, { state: "labelled", class: 1, source: "group" },
  ];

  it("always add up to all pictures, whatever was answered", () => {
    for (const from of all) {
      for (const to of all) {
        const next = withChanges(counts, [{ from, to }]);
        expect(next.by_you + next.in_groups + next.by_model + next.open).toBe(10);
        expect(withChanges(next, [{ from: to, to: from }])).toEqual(counts);
      }
    }
  });

  it("take later for open, and unsure for an answer", () => {
    const open = all[0]!;
    expect(withChanges(counts, [{ from: open, to: all[1]! }])).toEqual({ ...counts, later: 2 });
    expect(withChanges(counts, [{ from: open, to: all[2]! }])).toEqual({
      ...counts, unsure: 2, by_you: 3, open: 6,
    });
  });

  it("take a picture with a sure suggestion from those by the model, and never below none", () => {
    const by_model = { ...counts, by_model: 1, open: 6 };
    const sure = { from: { state: "open", class: 0, sure: true }, to: all[5]! };
    expect(withChanges(by_model, [sure])).toEqual({ ...by_model, by_model: 0, by_you: 3 });
    expect(withChanges(by_model, [sure, sure])).toEqual({ ...by_model, by_model: 0, open: 5, by_you: 4 });
    const few = { ...counts, by_model: 7, open: 0 };
    expect(withChanges(few, [{ from: all[0]!, to: all[6]! }])).toEqual({ ...few, by_model: 6, in_groups: 2 });
  });

  it("move a picture from class to class", () => {
    const one = (id: number, pictures: number): ClassInfo => ({
      id, name: String(id), key: null, look: 0, archived: false, merged_into: null, pictures,
      by_you: pictures, in_groups: 0, by_model: 0, guide: { text: "", examples: [], nots: [] },
    });
    const classes = withClassChanges([one(0, 3), one(1, 0), one(2, 5)], [
      { from: all[5]!, to: { state: "labelled", class: 1 } },
      { from: all[0]!, to: { state: "labelled", class: 1 } },
    ]);
    expect(classes.map((c) => c.pictures)).toEqual([2, 2, 5]);
  });
});

describe("the gate for pictures", () => {
  it("lets four load and the others wait their turn, in order", () => {
    const gate = new Gate(4);
    const started: number[] = [];
    const leave = Array.from({ length: 7 }, (_, i) => gate.enter(() => started.push(i)));
    expect(started).toEqual([0, 1, 2, 3]);
    leave[5]!(); // scrolled away before its turn
    leave[0]!();
    leave[0]!(); // twice does no harm
    expect(started).toEqual([0, 1, 2, 3, 4]);
    leave[1]!();
    expect(started).toEqual([0, 1, 2, 3, 4, 6]);
    for (const out of leave) out();
    expect(gate.loading).toBe(0);
  });
});

describe("the settings that the browser keeps", () => {
  it("are the defaults where nothing or nonsense is kept", () => {
    for (const text of [null, "", "null", "[]", "no JSON", '{"theme":"pink","tile":7,"bindings":3}']) {
      expect(loaded(text)).toEqual(DEFAULTS);
    }
  });

  it("come back field by field", () => {
    const kept = {
      theme: "dark", text: "large", tile: 192, hide: true,
      bindings: { own: { unsure: ["m"], none: "n", later: [1] }, single: false },
    };
    expect(loaded(JSON.stringify(kept))).toEqual({
      ...kept, bindings: { own: { unsure: ["m"] }, single: false },
    });
  });
});
