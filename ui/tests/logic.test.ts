import { describe, expect, it, vi } from "vitest";
import { asked, format, parse } from "../src/logic/address";
import { linesFor } from "../src/logic/box";
import { GAP, between, moved, scrollFor, shapeOf, windowOf } from "../src/logic/grid";
import { LOOKS, lookClass, lookName, lookOf } from "../src/logic/looks";
import { distance, sameName, shortened, shown, tidied } from "../src/logic/names";
import { Pace } from "../src/logic/pace";
import { Preloader, type Decodable } from "../src/logic/preload";
import * as texts from "../src/logic/texts";

describe("the box in which a class is typed", () => {
  const classes = [
    { id: 0, name: "Manuel" },
    { id: 1, name: "copepod" },
    { id: 2, name: "copepod egg" },
  ];

  it("highlights a class that matches, never the line that makes one", () => {
    const { lines, highlighted } = linesFor("man", classes);
    expect(lines[highlighted]).toEqual({ kind: "class", id: 0, name: "Manuel" });
    expect(lines.at(-1)).toEqual({ kind: "new", name: "man", near: null });
  });

  it("highlights the new class where nothing matches", () => {
    const { lines, highlighted } = linesFor("diatom", classes);
    expect(lines).toHaveLength(1);
    expect(lines[highlighted]).toEqual({ kind: "new", name: "diatom", near: null });
  });

  it("puts the exact name first and offers no second class of it", () => {
    const { lines } = linesFor("  COPEPOD ", classes);
    expect(lines.map((l) => l.name)).toEqual(["copepod", "copepod egg"]);
  });

  it("finds a word inside a name, and letters inside a word last", () => {
    expect(linesFor("egg", classes).lines[0]!.name).toBe("copepod egg");
    expect(linesFor("nuel", classes).lines[0]!.name).toBe("Manuel");
  });

  it("warns of a name one slip away", () => {
    expect(linesFor("copeopd", classes).lines.at(-1)).toMatchObject({ kind: "new", near: "copepod" });
    expect(linesFor("star", classes).lines.at(-1)).toMatchObject({ near: null });
  });

  it("makes no class of nothing, nor of more than 60 letters", () => {
    expect(linesFor("   ", []).highlighted).toBe(-1);
    const long = linesFor("x".repeat(61), []);
    expect(long.lines).toEqual([]);
    expect(long.problem).toMatch(/at most 60/);
    expect(linesFor("é".repeat(60), []).lines).toHaveLength(1);
  });
});

describe("names as data", () => {
  it("shows what would hide or turn the text", () => {
    expect(shown("a\nb\u202ecod.exe\u200b")).toBe("a␊b⟨202E⟩cod.exe⟨200B⟩");
    expect(shown("<img src=x onerror=alert(1)>")).toBe("<img src=x onerror=alert(1)>");
  });

  it("cuts in the middle and by letters, not by halves of them", () => {
    const name = `${"a".repeat(100)}😀.png`;
    const cut = shortened(name);
    expect(Array.from(cut)).toHaveLength(80);
    expect(cut.endsWith("😀.png")).toBe(true);
    expect(shortened("short.png")).toBe("short.png");
  });

  it("takes two spellings of one name for one", () => {
    expect(sameName("É clair", "  e\u0301  CLAIR ")).toBe(true);
    expect(tidied(" a \t b ")).toBe("a b");
  });

  // The slow twin: all prefixes, no early stop.
  const slow = (a: string, b: string): number => {
    if (!a || !b) return Math.max(a.length, b.length);
    const ways = [
      slow(a.slice(1), b) + 1,
      slow(a, b.slice(1)) + 1,
      slow(a.slice(1), b.slice(1)) + (a[0] === b[0] ? 0 : 1),
    ];
    if (a[0] === b[1] && a[1] === b[0] && a.length > 1 && b.length > 1) {
      ways.push(slow(a.slice(2), b.slice(2)) + 1);
    }
    return Math.min(...ways);
  };

  it("counts slips as the recursive definition does", () => {
    const words = ["cat", "act", "cart", "ct", "tac", "", "dog", "cats"];
    for (const a of words) {
      for (const b of words) expect(distance(a, b, 9), `${a} ${b}`).toBe(slow(a, b));
    }
  });
});

describe("the virtual grid", () => {
  it("fits the columns that the width holds", () => {
    expect(shapeOf(100, 1040, 96).columns).toBe(10);
    expect(shapeOf(100, 1040, 136).columns).toBe(7);
    expect(shapeOf(0, 1040, 136)).toMatchObject({ rows: 0, height: 0 });
    expect(shapeOf(5, 50, 136).columns).toBe(1);
    expect(shapeOf(20, 1040, 96).height).toBe(2 * 96 + GAP);
  });

  it("draws what is in view and a screen around it, never more than 400", () => {
    for (const tile of [96, 136, 192]) {
      for (const width of [360, 1040, 1700, 3800]) {
        for (const scroll of [0, 999, 54_321, 1e7]) {
          const shape = shapeOf(20_000, width, tile);
          const view = 700;
          const w = windowOf(shape, 20_000, scroll, view);
          expect(w.last - w.first).toBeLessThanOrEqual(400);
          // Slow twin: each tile whose box meets the view is drawn.
          const pitch = tile + GAP;
          for (let row = 0; row < shape.rows; row++) {
            const seen = row * pitch < scroll + view && row * pitch + tile > scroll;
            if (seen) expect(row >= w.firstRow && row < w.lastRow, `${tile} ${width} ${row}`).toBe(true);
          }
        }
      }
    }
  });

  it("moves by keys and stops at the ends", () => {
    const at = (index: number, move: string) => moved(index, move, 23, 5, 3);
    expect(at(0, "left")).toBe(0);
    expect(at(4, "right")).toBe(5);
    expect(at(2, "up")).toBe(2);
    expect(at(2, "shift+down")).toBe(7);
    expect(at(19, "down")).toBe(22); // the last row is short
    expect(at(21, "down")).toBe(21);
    expect(at(12, "home")).toBe(0);
    expect(at(12, "end")).toBe(22);
    expect(at(12, "pagedown")).toBe(22);
    expect(at(12, "pageup")).toBe(2);
    expect(moved(0, "end", 0, 5, 3)).toBe(0);
  });

  it("scrolls only as far as it must", () => {
    const shape = shapeOf(100, 500, 96); // 5 columns, rows of 100
    expect(scrollFor(0, shape, 250, 300)).toBe(0);
    expect(scrollFor(30, shape, 0, 300)).toBe(6 * 100 + 96 - 300);
    expect(scrollFor(7, shape, 50, 300)).toBe(50);
    expect(between(7, 4)).toEqual([4, 5, 6, 7]);
  });
});

describe("the look of a class", () => {
  it("gives 21 different ones, then none", () => {
    const seen = new Set(Array.from({ length: LOOKS }, (_, i) => lookClass(i)));
    expect(seen.size).toBe(21);
    expect(lookOf(0)).toEqual({ slot: 1, pattern: "solid" });
    expect(lookOf(7)).toEqual({ slot: 1, pattern: "diagonal" });
    expect(lookOf(20)).toEqual({ slot: 7, pattern: "dots" });
    expect(lookOf(21)).toEqual({ slot: 0, pattern: "none" });
    expect(lookOf(null).slot).toBe(0);
    expect(lookName(8)).toBe("orange, diagonal");
    expect(lookName(0)).toBe("blue");
  });
});

describe("the pace", () => {
  it("is the median of the last fifty answers, and silent before five", () => {
    const pace = new Pace();
    for (let i = 0; i < 4; i++) pace.add(2000);
    expect(pace.text(100)).toBeNull();
    pace.add(2000);
    expect(pace.text(300)).toBe("about 10 min at your pace");
    for (let i = 0; i < 50; i++) pace.add(1000);
    expect(pace.median).toBe(1000);
    pace.add(3_600_000); // a lunch is no answer
    expect(pace.median).toBe(1000);
    expect(pace.text(0)).toBeNull();
  });

  it("estimates within 25 % after 50 answers at 2 s with some long thoughts", () => {
    const pace = new Pace();
    for (let i = 0; i < 50; i++) pace.add(i % 10 === 0 ? 9000 : 1900 + 4 * i);
    expect(Math.abs(pace.median! / 2000 - 1)).toBeLessThan(0.25);
  });

  it("says durations no more exactly than they are known", () => {
    expect(texts.duration(4_000)).toBe("a few seconds");
    expect(texts.duration(38_000)).toBe("40 s");
    expect(texts.duration(58_000)).toBe("1 min");
    expect(texts.duration(9 * 60_000)).toBe("9 min");
    expect(texts.duration(130 * 60_000)).toBe("2 h 10 min");
    expect(texts.about(4_000)).toBe("a few seconds");
    expect(texts.about(540_000)).toBe("about 9 min");
    expect(texts.duration(119 * 60_000)).toBe("2 h");
  });
});

describe("preloading", () => {
  const fake = () => {
    const made: (Decodable & { decoded: boolean })[] = [];
    const make = () => {
      const image = { src: "", decoded: false, decode() { this.decoded = true; return Promise.resolve(); } };
      made.push(image);
      return image;
    };
    return { made, make };
  };

  it("holds three ahead and two behind, each decoded once", () => {
    const { made, make } = fake();
    const preloader = new Preloader(make);
    const queue = Array.from({ length: 20 }, (_, i) => `/full/${i}`);
    for (let at = 0; at < 10; at++) preloader.show(queue, at);
    expect(preloader.addresses.sort()).toEqual(queue.slice(7, 13).sort());
    expect(made).toHaveLength(13);
    expect(made.every((image) => image.decoded)).toBe(true);
    expect(made.filter((image) => image.src === "")).toHaveLength(7); // dropped, transfer ended
  });

  it("fetches those further on one after the other, once, and stops while nobody answers", async () => {
    vi.useFakeTimers();
    const asked: string[] = [];
    let there = true;
    const load = (address: string) => {
      asked.push(address);
      return there ? Promise.resolve() : Promise.reject(new Error("down"));
    };
    const preloader = new Preloader(() => ({ src: "", decode: () => Promise.resolve() }), load);
    const all = Array.from({ length: 40 }, (_, i) => `p${i}`);
    preloader.show(all, 0);
    await vi.advanceTimersByTimeAsync(160);
    expect(asked).toEqual(["p4"]);
    await vi.advanceTimersByTimeAsync(5000);
    expect(asked).toEqual(all.slice(4, 21));
    preloader.show(all, 1);
    await vi.advanceTimersByTimeAsync(1000);
    expect(asked.at(-1)).toBe("p21");
    expect(asked).toHaveLength(18);
    there = false;
    preloader.show(all, 2);
    await vi.advanceTimersByTimeAsync(5000);
    expect(asked).toHaveLength(19);
    there = true;
    preloader.show(all, 2);
    await vi.advanceTimersByTimeAsync(1000);
    expect(asked).toHaveLength(20);
    vi.useRealTimers();
  });

  it("does not mind a picture that cannot be decoded", async () => {
    const preloader = new Preloader(() => ({ src: "", decode: () => Promise.reject(new Error("cut")) }));
    preloader.show(["/full/1"], 0);
    await Promise.resolve();
    expect(preloader.addresses).toEqual(["/full/1"]);
  });
});

describe("the address", () => {
  it("goes there and back", () => {
    for (const hash of [
      "#/queue", "#/queue?mode=later", "#/pictures?state=labelled&class=3&sort=-name",
      "#/pictures?folder=deep%2F%26a+b%23", "#/pictures?missing=yes", "#/classes", "#/problems", "#/export", "#/keys", "#/history",
    ]) {
      expect(format(parse(hash))).toBe(hash);
    }
  });

  it("takes nonsense for the queue without a filter", () => {
    expect(parse("#/nowhere?state=lost&class=x&mode=best")).toEqual({
      screen: "queue", filter: {}, sort: "name", mode: "useful",
    });
    expect(parse("")).toMatchObject({ screen: "queue" });
    expect(parse("#/pictures?sort=luck").sort).toBe("name");
  });

  it("asks the server for what it says", () => {
    expect(asked(parse("#/pictures?state=unsure&class=3&folder=deep").filter)).toEqual({
      state: ["unsure"], class: [3], folder: "deep", presence: ["here"],
    });
    expect(asked({ missing: true })).toEqual({ presence: ["missing"] });
  });
});

describe("the sentences", () => {
  it("say what undo will take back, with the number", () => {
    expect(texts.undoOffer(texts.answered(36, { name: "copepod" }))).toBe(
      'Undo (Ctrl+Z): 36 images labelled "copepod"',
    );
    expect(texts.answered(1, { state: "none" })).toBe("1 image set to none of these");
    expect(texts.answered(1204, { state: "open" })).toBe("1,204 images made open again");
  });

  it("say where answers are", () => {
    expect(texts.storage(0, true)).toBe("Stored");
    expect(texts.storage(3, true)).toBe("3 waiting");
    expect(texts.storage(3, false)).toBe("Not connected. Answers are kept here.");
    expect(texts.disconnected(3)).toBe(
      "handful is not running any more. Answers are kept here (3). Run the same command to go on.",
    );
  });

  it("count in words that fit one and many", () => {
    expect(texts.problems(1)).toBe("1 file has a problem");
    expect(texts.problems(2)).toBe("2 files have a problem");
    expect(texts.queueEnd(14, 6)).toBe("The queue is finished. Left: 14 later, 6 unsure.");
    expect(texts.tooMany(10_000)).toBeNull();
    expect(texts.tooMany(10_001)).toMatch(/10,001 pictures/);
    expect(texts.undoOffer("x", "Cmd+Z")).toBe("Undo (Cmd+Z): x");
    expect(texts.scope(35)).toBe("Label 35 selected");
    expect(texts.found(20000, "plankton")).toMatch(/^20,000 pictures found in plankton\. Nothing leaves/);
  });
});
