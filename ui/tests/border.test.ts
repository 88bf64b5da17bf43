import { describe, expect, it } from "vitest";
import { answered, begun, inView, isFound, result } from "../src/logic/border";

/** Answers every page by a true border: the number of pictures from the top that belong. */
function searched(total: number, page: number, border: number) {
  let now = begun(total, page);
  while (!isFound(now)) {
    expect(now.answers).toBeLessThan(100);
    const [from, to] = inView(now);
    expect(to).toBeGreaterThan(from);
    now = answered(now, to <= border);
  }
  return now;
}

describe("the search for a border", () => {
  it("ends within a page of the truth, wherever it lies", () => {
    for (const [total, page] of [[4096, 24], [100, 24], [24, 24], [7, 24], [25, 24], [49, 12]] as const) {
      for (let border = 0; border <= total; border += Math.max(1, Math.floor(total / 97))) {
        const { labelled, shown } = result(searched(total, page, border));
        expect(labelled).toBeLessThanOrEqual(border);
        expect(border - labelled).toBeLessThan(page);
        expect(shown.every((at) => at < labelled)).toBe(true);
      }
      expect(result(searched(total, page, total)).labelled).toBe(total);
    }
  });

  it("needs at most 14 answers for 4,096 pictures", () => {
    const most = Math.max(...Array.from({ length: 586 }, (_, i) => searched(4096, 36, i * 7).answers));
    expect(most).toBeLessThanOrEqual(14);
  });

  it("takes nothing when the first page is wrong already", () => {
    const now = answered(begun(500, 24), false);
    expect(isFound(now)).toBe(true);
    expect(result(now)).toEqual({ labelled: 0, shown: [] });
  });
});
