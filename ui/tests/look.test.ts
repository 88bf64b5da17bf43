import { describe, expect, it } from "vitest";
import { AS_IT_COMES, asked, moved, plain, stepOf } from "../src/logic/look";
import { full } from "../src/app/api";

describe("how values become light", () => {
  it("asks for nothing while nothing was changed", () => {
    expect(plain(AS_IT_COMES)).toBe(true);
    expect(full({ id: "a", v: "x" })).toBe("/api/v1/full/a?v=x");
    expect(full({ id: "a", v: null }, false, AS_IT_COMES, 2)).toBe("/api/v1/full/a?page=2");
  });

  it("names both ends, and leaves the percentiles out then", () => {
    const look = { ...AS_IT_COMES, low: 10, high: 900, auto: true, invert: true, channel: 0 };
    expect(asked(look)).toEqual({ channel: 0, invert: 1, auto: null, low: 10, high: 900 });
    expect(asked({ ...AS_IT_COMES, auto: false })["auto"]).toBe(0);
    expect(plain(look)).toBe(false);
  });

  it("keeps black below white", () => {
    expect(moved({ low: 0, high: 100 }, "low", 200, 1)).toEqual({ low: 99, high: 100 });
    expect(moved({ low: 50, high: 100 }, "high", 0, 1)).toEqual({ low: 50, high: 51 });
  });

  it("steps in whole values where there are some", () => {
    expect(stepOf(0, 255)).toBe(1);
    expect(stepOf(0, 65_535)).toBe(66);
    expect(stepOf(0, 0.5)).toBeCloseTo(0.0005);
    expect(stepOf(2, 2)).toBe(1);
  });
});
