import { describe, expect, it } from "vitest";
import type { ImportPreview } from "../src/api.types";
import { asked, base64, buttons, details, MOST_PIECES, pieces, size, uploadName, type Chosen } from "../src/logic/carry";

const CHOSEN: Chosen = {
  labels: true, formats: ["csv"], where: "pictures", states: true, open: false, byModel: true,
  pictures: true, folders: false, how: "copies", place: "beside", model: false, report: false,
  examples: true,
};
const PREVIEW: ImportPreview = {
  file: "x.csv", form: "csv", rows: 1197, text: "", left_out: null, new: 1180, change: 14, same: 0,
  missing: 3, conflicts: 0, faulty: 0, empty: 0, guesses: 0, by_content: 0, by_end: 0,
  missing_names: [], conflict_names: [], faults: [], new_classes: [], changes: [], set_hash: "", label_rev: 0,
};

describe("what is asked for", () => {
  it("is nothing where nothing is ticked", () => {
    expect(asked({ ...CHOSEN, labels: false })).toBeNull();
    expect(asked({ ...CHOSEN, formats: [] })).toBeNull();
    expect(asked({ ...CHOSEN, labels: false, model: true })?.formats).toEqual([]);
  });

  it("names a place only with folders, and pictures only with a report", () => {
    expect(asked(CHOSEN)).not.toHaveProperty("folders");
    expect(asked(CHOSEN)?.report_pictures).toBe(false);
    const all = asked({ ...CHOSEN, folders: true, how: "links", report: true });
    expect(all).toMatchObject({ folders: "links", folders_where: "beside", report_pictures: true });
  });
});

describe("a file on its way in", () => {
  it("is cut into pieces that give it again", () => {
    for (const n of [0, 1, 7, 8, 9, 30]) {
      const cuts = pieces(n, 8)!;
      expect(cuts[0]?.[0]).toBe(0);
      expect(cuts.at(-1)?.[1]).toBe(n);
      expect(cuts.reduce((sum, [from, to]) => sum + to - from, 0)).toBe(n);
    }
    expect(pieces(8 * MOST_PIECES, 8)).toHaveLength(MOST_PIECES);
    expect(pieces(8 * MOST_PIECES + 1, 8)).toBeNull();
  });

  it("travels as base64, long files too", () => {
    const bytes = Uint8Array.from({ length: 100_001 }, (_, i) => i % 251);
    const back = Uint8Array.from(atob(base64(bytes)), (c) => c.charCodeAt(0));
    expect(back).toEqual(bytes);
    expect(base64(new Uint8Array())).toBe("");
  });

  it("has a name that the server takes", () => {
    expect(uploadName()).toMatch(/^[a-z0-9]{16}$/);
    expect(uploadName(() => 0.999999)).toMatch(/^[a-z0-9]{16}$/);
  });
});

describe("a preview", () => {
  it("counts on its buttons, and has no button that does nothing", () => {
    expect(buttons(PREVIEW)).toEqual({ all: "Import 1,194", fresh: "Only the new 1,180" });
    expect(buttons({ ...PREVIEW, change: 0 })).toEqual({ all: "Import 1,180", fresh: null });
    expect(buttons({ ...PREVIEW, new: 0 })).toEqual({ all: "Import 14", fresh: null });
    expect(buttons({ ...PREVIEW, new: 0, change: 0 })).toEqual({ all: null, fresh: null });
  });

  it("tells the rest in words", () => {
    expect(details(PREVIEW)).toEqual([]);
    expect(details({ ...PREVIEW, same: 1, conflicts: 2, guesses: 1 })).toEqual([
      "1 picture already has its label.", "2 pictures are given two classes and left out.",
      "1 row that a model wrote is left out.",
    ]);
  });
});

it("sizes are short", () => {
  expect([12, 1_200, 34_000, 1_234_567, 45_000_000].map(size)).toEqual([
    "12 bytes", "1.2 kB", "34 kB", "1.2 MB", "45 MB",
  ]);
});
