import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { LOOK_COLOURS, LOOKS } from "../src/logic/looks";
import {
  apart, boxed, enclosed, EXTENT, fitted, inside, onMap, onScreen, panned, Squares, toward, zoomed,
  type Points, type Spot,
} from "../src/logic/plane";
import {
  countOn, draw, mixed, OPEN, PAINTS, pixel, PLAIN, sizeFor, stampOf, type Palette,
} from "../src/logic/raster";

/** A generator of its own, so that a failure shows the same numbers again. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

function cloud(n: number, seed = 7): Points {
  const next = random(seed);
  const draw = () => Uint16Array.from({ length: n }, () => Math.floor(next() * (EXTENT + 1)));
  return { n, x: draw(), y: draw() };
}

const some = (...spots: [number, number][]): Points => ({
  n: spots.length, x: Uint16Array.from(spots, (s) => s[0]), y: Uint16Array.from(spots, (s) => s[1]),
});

/** The winding number, another way to the same answer for lines that do not cross themselves. */
function winds(x: number, y: number, line: readonly Spot[]): boolean {
  let turned = 0;
  for (let i = 0; i < line.length; i++) {
    const a = line[i]!, b = line[(i + 1) % line.length]!;
    const p = Math.atan2(a.y - y, a.x - x), q = Math.atan2(b.y - y, b.x - x);
    turned += Math.atan2(Math.sin(q - p), Math.cos(q - p));
  }
  return Math.abs(turned) > 1;
}

describe("a line around points", () => {
  const square = [{ x: 10, y: 10 }, { x: 20, y: 10 }, { x: 20, y: 20 }, { x: 10, y: 20 }];

  it("holds what is inside, and each border point once for two lines side by side", () => {
    expect(inside(15, 15, square)).toBe(true);
    expect(inside(25, 15, square)).toBe(false);
    const right = square.map(({ x, y }) => ({ x: x + 10, y }));
    for (let y = 10; y < 20; y++) {
      expect(Number(inside(20, y, square)) + Number(inside(20, y, right))).toBe(1);
    }
  });

  it("leaves out what lies in a bay or was circled twice", () => {
    const u = [[0, 0], [30, 0], [30, 30], [20, 30], [20, 10], [10, 10], [10, 30], [0, 30]]
      .map(([x, y]) => ({ x: x!, y: y! }));
    expect(inside(15, 20, u)).toBe(false);
    expect(inside(5, 20, u)).toBe(true);
    const eight = [[0, 0], [20, 20], [20, 0], [0, 20]].map(([x, y]) => ({ x: x!, y: y! }));
    expect(inside(10, 5, eight)).toBe(false);
    expect(inside(3, 10, eight)).toBe(true);
  });

  it("selects exactly what a slow twin selects", () => {
    const points = cloud(3000);
    const next = random(3);
    const star = Array.from({ length: 23 }, (_, i) => {
      const angle = (i / 23) * 2 * Math.PI, far = 8000 + next() * 20000;
      return { x: 32000 + Math.cos(angle) * far, y: 32000 + Math.sin(angle) * far };
    });
    const slow = [];
    for (let i = 0; i < points.n; i++) if (winds(points.x[i]!, points.y[i]!, star)) slow.push(i);
    expect(enclosed(points, star)).toEqual(slow);
    expect(slow.length).toBeGreaterThan(200);
  });

  it("encloses nothing with fewer than three corners", () => {
    expect(enclosed(cloud(50), [{ x: 0, y: 0 }, { x: 9e4, y: 9e4 }])).toEqual([]);
  });

  it("takes two corners in any order, edges included", () => {
    const points = some([10, 10], [20, 20], [15, 12], [21, 15]);
    const wanted = [0, 1, 2];
    expect(boxed(points, { x: 10, y: 10 }, { x: 20, y: 20 })).toEqual(wanted);
    expect(boxed(points, { x: 20, y: 10 }, { x: 10, y: 20 })).toEqual(wanted);
  });
});

describe("what is near", () => {
  const points = cloud(2500, 11);
  const squares = new Squares(points);
  const far = (i: number, x: number, y: number) =>
    (points.x[i]! - x) ** 2 + (points.y[i]! - y) ** 2;
  const ranked = (x: number, y: number) =>
    Array.from({ length: points.n }, (_, i) => i).sort((a, b) => far(a, x, y) - far(b, x, y) || a - b);

  it("is the point under the pointer, or none", () => {
    const next = random(5);
    for (let k = 0; k < 200; k++) {
      const x = next() * EXTENT, y = next() * EXTENT;
      const best = ranked(x, y)[0]!;
      const reach = 900;
      expect(squares.under(x, y, reach)).toBe(far(best, x, y) < reach * reach ? best : -1);
    }
  });

  it("are the same k as a full sort gives, at the rim, too", () => {
    const next = random(6);
    const spots = [[0, 0], [EXTENT, EXTENT], [0, 30000], ...Array.from({ length: 12 }, () => [next() * EXTENT, next() * EXTENT])];
    for (const [x, y] of spots) {
      for (const k of [1, 10, 200]) {
        expect(squares.near(x!, y!, k)).toEqual(ranked(x!, y!).slice(0, k));
      }
    }
    expect(squares.near(5, 5, 9000)).toHaveLength(points.n);
  });

  it("holds with one point, and with many in one place", () => {
    expect(new Squares(some([5, 5])).near(60000, 60000, 3)).toEqual([0]);
    const stack = some(...Array.from({ length: 40 }, () => [100, 100] as [number, number]));
    expect(new Squares(stack).near(100, 100, 5)).toEqual([0, 1, 2, 3, 4]);
    expect(new Squares({ n: 0, x: new Uint16Array(), y: new Uint16Array() }).under(1, 1, 9e9)).toBe(-1);
  });

  it("is where an arrow key leads; at the rim it stays", () => {
    const cross = some([100, 100], [200, 110], [300, 100], [100, 40], [20, 100]);
    expect(toward(cross, 0, "right")).toBe(1);
    expect(toward(cross, 1, "right")).toBe(2);
    expect(toward(cross, 0, "up")).toBe(3);
    expect(toward(cross, 0, "left")).toBe(4);
    expect(toward(cross, 4, "left")).toBe(4);
    expect(toward(cross, 2, "down")).toBe(2);
  });
});

describe("pictures in place of points", () => {
  it("never lie over each other, and leave out none that has room", () => {
    const next = random(9);
    const spots = Array.from({ length: 400 }, () => ({ x: next() * 600 - 50, y: next() * 400 - 50 }));
    const kept = apart(spots, 52);
    const meet = (a: Spot, b: Spot) => Math.abs(a.x - b.x) < 52 && Math.abs(a.y - b.y) < 52;
    kept.forEach((a, i) => expect(kept.slice(i + 1).some((b) => meet(a, b))).toBe(false));
    for (const spot of spots) expect(kept.some((k) => meet(k, spot))).toBe(true);
  });
});

describe("the view", () => {
  const whole = fitted(1000, 600);

  it("shows the whole map in the middle, and turns places there and back", () => {
    expect(onScreen(whole, EXTENT / 2, EXTENT / 2)).toEqual({ x: 500, y: 300 });
    expect(onScreen(whole, 0, 0).y).toBeCloseTo(24);
    const there = onMap(whole, 120, 90);
    const back = onScreen(whole, there.x, there.y);
    expect(back.x).toBeCloseTo(120);
    expect(back.y).toBeCloseTo(90);
  });

  it("zooms around the pointer, within bounds", () => {
    const at = { x: 700, y: 100 };
    const held = onMap(whole, at.x, at.y);
    const near = zoomed(whole, 3, at, whole);
    expect(onMap(near, at.x, at.y).x).toBeCloseTo(held.x);
    expect(near.scale).toBeCloseTo(whole.scale * 3);
    expect(zoomed(near, 1e9, at, whole).scale).toBeCloseTo(whole.scale * 400);
    expect(zoomed(near, 1e-9, at, whole).scale).toBeCloseTo(whole.scale / 2);
  });

  it("moves with the hand and never loses the map", () => {
    expect(onScreen(panned(whole, 40, -10, 1000, 600), EXTENT / 2, EXTENT / 2)).toEqual({ x: 540, y: 290 });
    const lost = panned(whole, -1e9, 1e9, 1000, 600);
    expect(onScreen(lost, EXTENT, 0).x).toBeGreaterThan(0);
    expect(onScreen(lost, 0, 0).y).toBeLessThan(600);
  });
});

describe("drawing", () => {
  const palette: Palette = {
    fill: Uint32Array.from({ length: PAINTS }, (_, i) => 1000 + i), edge: new Uint32Array(PAINTS).fill(1), chosen: 2, focus: 3,
  };
  const sheet = (width: number, height: number) =>
    ({ pixels: new Uint32Array(width * height), width, height });
  const view = { x: 0, y: 0, scale: 1 };

  it("puts each point where it stands, in the paint of its class", () => {
    const on = sheet(60, 40);
    draw(on, some([10, 20], [40, 10]), view, Uint8Array.of(4, OPEN), Uint8Array.of(0, 0), palette, 3);
    expect(on.pixels[20 * 60 + 10]).toBe(1004);
    expect(on.pixels[10 * 60 + 40]).toBe(1000 + OPEN);
    expect(on.pixels.filter((p) => p !== 0)).toHaveLength(18);
  });

  it("draws what is selected last and on a disc, and a ring around the one in focus", () => {
    const on = sheet(60, 40);
    const both = some([20, 20], [20, 20]);
    draw(on, both, view, Uint8Array.of(1, 2), Uint8Array.of(1, 0), palette, 3, 1);
    expect(on.pixels[20 * 60 + 20]).toBe(1001);
    expect(on.pixels).toContain(2);
    expect(on.pixels).toContain(3);
  });

  it("stays on the sheet for points at its rim and far outside", () => {
    const on = sheet(30, 30);
    const points = some([0, 0], [29, 29], [60000, 3], [15, 15]);
    expect(() => draw(on, points, { x: 14, y: 14, scale: 1 }, new Uint8Array(4), new Uint8Array(4).fill(1), palette, 11, 2)).not.toThrow();
    expect(countOn(points, { x: 14, y: 14, scale: 1 }, on)).toBe(2);
  });

  it("gives every look a stamp of its own from the size on at which shapes can be told", () => {
    for (const size of [7, 9, 11]) {
      const stamps = Array.from({ length: LOOKS }, (_, paint) => {
        const s = stampOf(paint, size);
        return [...s.dx].map((dx, i) => `${dx},${s.dy[i]},${s.edge[i]}`).join(" ");
      });
      expect(new Set(stamps).size).toBe(LOOKS);
    }
    expect(stampOf(PLAIN, 3).dx).toHaveLength(9);
    expect([200, 201, 1001, 5001, 30001].map(sizeFor)).toEqual([11, 9, 7, 5, 3]);
  });

  it("takes the colours of the style sheet, byte by byte", () => {
    expect(pixel("#0072b2").toString(16)).toBe("ffb27200");
    expect(mixed(pixel("#000000"), pixel("#ffffff"), 0.5).toString(16)).toBe("ff808080");
    expect(mixed(pixel("#0072b2"), pixel("#ffffff"), 0)).toBe(pixel("#0072b2"));
    const css = readFileSync("src/styles/theme.css", "utf8");
    LOOK_COLOURS.forEach((colour, i) => expect(css).toContain(`.look-${i + 1} { --look: ${colour};`));
  });

  it("draws 100,000 points in a frame", () => {
    const points = cloud(100_000);
    const on = sheet(1600, 900);
    const paints = Uint8Array.from({ length: points.n }, (_, i) => i % PAINTS);
    const chosen = Uint8Array.from({ length: points.n }, (_, i) => Number(i % 3 === 0));
    const whole = fitted(1600, 900);
    let best = Infinity;
    for (let k = 0; k < 12; k++) {
      const start = performance.now();
      draw(on, points, { ...whole, x: whole.x + k }, paints, chosen, palette, sizeFor(points.n), 5);
      best = Math.min(best, performance.now() - start);
    }
    console.info(`100,000 points drawn in ${best.toFixed(1)} ms`);
    expect(best).toBeLessThan(16);
  });
});
