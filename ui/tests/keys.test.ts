import { describe, expect, it } from "vitest";
import {
  CLASS_KEYS, COMMANDS, DEFAULT_BINDINGS, chordOf, classKeyConflict, conflictOf, freeKey, isTyped,
  keysOf, meaningOf, nameOf, type Bindings, type Press,
} from "../src/logic/keys";

const press = (key: string, code: string, more: Partial<Press> = {}) =>
  chordOf({ key, code, ...more });
const classes = [
  { id: 0, name: "copepod", key: "1" },
  { id: 1, name: "nauplius", key: "2" },
  { id: 2, name: "diatom", key: "q" },
];

describe("what a press is", () => {
  it("takes digits by position: AZERTY, Czech and the number pad", () => {
    expect(press("&", "Digit1")).toBe("1");
    expect(press("1", "Digit1", { shiftKey: true })).toBe("1"); // AZERTY with Shift
    expect(press("-", "Digit6")).toBe("6"); // AZERTY
    expect(press("+", "Digit1")).toBe("1"); // Czech
    expect(press("à", "Digit0")).toBe("0");
    expect(press("4", "Numpad4")).toBe("4");
  });

  it("takes a number pad without NumLock for the arrows it sends", () => {
    expect(press("ArrowLeft", "Numpad4")).toBe("left");
    expect(press("Clear", "Numpad5")).toBeNull();
  });

  it("takes no sign over a digit for an answer", () => {
    expect(press("!", "Digit1", { shiftKey: true })).toBeNull();
    expect(press('"', "Digit2", { shiftKey: true })).toBeNull();
  });

  it("takes letters by what they write, in either case", () => {
    expect(press("a", "KeyQ")).toBe("a"); // AZERTY: A stands where Q does
    expect(press("G", "KeyG", { shiftKey: true })).toBe("shift+g");
    expect(press("Q", "KeyQ")).toBe("q"); // caps lock
  });

  it("falls back to the position where the letter is not Latin", () => {
    expect(press("й", "KeyQ")).toBe("q");
    expect(press("Я", "KeyZ", { ctrlKey: true })).toBe("ctrl+z");
    expect(press("ü", "KeyQ")).toBeNull(); // Latin, but another letter
  });

  it("means nothing to an input method, to AltGr or to the system's key", () => {
    expect(press("a", "KeyA", { isComposing: true })).toBeNull();
    expect(press("1", "Digit1", { isComposing: true })).toBeNull();
    expect(press("Process", "KeyA", { keyCode: 229 })).toBeNull();
    expect(press("@", "KeyQ", { altKey: true, ctrlKey: true })).toBeNull();
    expect(press("z", "KeyZ", { metaKey: true })).toBeNull();
    expect(press("Dead", "BracketLeft")).toBeNull();
    expect(press("Shift", "ShiftLeft", { shiftKey: true })).toBeNull();
  });

  it("finds / and ? wherever the layout has them", () => {
    expect(press("/", "Slash")).toBe("/");
    expect(press("/", "Digit7", { shiftKey: true })).toBe("/"); // German
    expect(press("/", "NumpadDivide")).toBe("/");
    expect(press("?", "Minus", { shiftKey: true })).toBe("?"); // German
  });

  it("reads Cmd as Ctrl on a Mac, and Ctrl as nothing", () => {
    expect(chordOf({ key: "z", code: "KeyZ", metaKey: true }, { mac: true })).toBe("ctrl+z");
    expect(chordOf({ key: "z", code: "KeyZ", ctrlKey: true }, { mac: true })).toBeNull();
    expect(press("z", "KeyZ", { ctrlKey: true, shiftKey: true })).toBe("ctrl+shift+z");
  });
});

const PLACES = [
  "gallery", "queue", "pictures", "audit", "review", "map", "classes", "other",
] as const;

describe("what a press does", () => {
  it("answers with the class that has the key, in every view with pictures", () => {
    expect(meaningOf("1", "queue", classes, DEFAULT_BINDINGS)).toEqual({ classId: 0 });
    expect(meaningOf("q", "pictures", classes, DEFAULT_BINDINGS)).toEqual({ classId: 2 });
    expect(meaningOf("3", "queue", classes, DEFAULT_BINDINGS)).toBeNull();
    expect(meaningOf("1", "classes", classes, DEFAULT_BINDINGS)).toBeNull();
  });

  it("tells the same key apart by the screen", () => {
    expect(meaningOf("space", "queue", classes, DEFAULT_BINDINGS)).toEqual({ command: "later" });
    expect(meaningOf("space", "pictures", classes, DEFAULT_BINDINGS)).toEqual({ command: "select" });
    expect(meaningOf("left", "queue", classes, DEFAULT_BINDINGS)).toEqual({ command: "previous" });
    expect(meaningOf("left", "pictures", classes, DEFAULT_BINDINGS)).toEqual({ move: "left" });
  });

  it("lets the old key do nothing once it is changed", () => {
    const bindings: Bindings = { own: { unsure: ["shift+u"] }, single: true };
    expect(meaningOf("u", "queue", classes, bindings)).toBeNull();
    expect(meaningOf("shift+u", "queue", classes, bindings)).toEqual({ command: "unsure" });
  });

  it("leaves no printable key in force when single keys are off", () => {
    const off: Bindings = { own: {}, single: false };
    const printable = COMMANDS.flatMap((c) => keysOf(c, off)).filter(isTyped);
    expect(printable.length).toBeGreaterThan(10);
    for (const chord of [...printable, ...CLASS_KEYS]) {
      for (const place of PLACES) {
        expect(meaningOf(chord, place, classes, off)).toBeNull();
      }
    }
    expect(meaningOf("ctrl+z", "queue", classes, off)).toEqual({ command: "undo" });
    expect(meaningOf("enter", "pictures", classes, off)).toEqual({ command: "large" });
  });

  it("has no two commands on one key of a screen, and none on a class key", () => {
    for (const place of PLACES) {
      const keys = COMMANDS.filter(
        (c) => c.places === "everywhere" || c.places.includes(place),
      ).flatMap((c) => c.keys);
      expect(new Set(keys).size).toBe(keys.length);
      expect(keys.filter((k) => CLASS_KEYS.includes(k))).toEqual([]);
    }
  });
});

describe("changing keys", () => {
  it("names the owner of a key that is taken", () => {
    expect(conflictOf("1", "unsure", classes, DEFAULT_BINDINGS)).toBe(
      '1 belongs to "copepod". Press another key or swap them.',
    );
    expect(conflictOf("n", "unsure", classes, DEFAULT_BINDINGS)).toBe(
      'N belongs to "None of these". Press another key or swap them.',
    );
    expect(conflictOf("w", "unsure", classes, DEFAULT_BINDINGS)).toMatch(/kept for classes/);
    expect(conflictOf("shift+u", "unsure", classes, DEFAULT_BINDINGS)).toBeNull();
    expect(conflictOf("shift+up", "larger-tiles", classes, DEFAULT_BINDINGS)).toBeNull();
  });

  it("refuses a command's key to a class, and gives it a free one", () => {
    expect(classKeyConflict("u", 0, classes, DEFAULT_BINDINGS)).toMatch(/kept for commands/);
    expect(classKeyConflict("2", 0, classes, DEFAULT_BINDINGS)).toMatch(/"nauplius"/);
    expect(classKeyConflict("1", 0, classes, DEFAULT_BINDINGS)).toBeNull();
    expect(classKeyConflict("5", 0, classes, DEFAULT_BINDINGS)).toBeNull();
  });

  it("hands out digits first, then letters of the left hand, then none", () => {
    expect(freeKey(classes)).toBe("3");
    const all = CLASS_KEYS.map((key, id) => ({ id, name: key, key }));
    expect(all).toHaveLength(24);
    expect(freeKey(all.slice(0, 10))).toBe("q");
    expect(freeKey(all)).toBeNull();
  });

  it("prints chords in words", () => {
    expect(nameOf("ctrl+shift+z")).toBe("Ctrl+Shift+Z");
    expect(nameOf("ctrl+z", { mac: true })).toBe("Cmd+Z");
    expect(nameOf("space")).toBe("Space");
    expect(nameOf("+")).toBe("+");
  });
});
