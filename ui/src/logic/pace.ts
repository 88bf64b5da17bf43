import { about } from "./texts";

/** How long the rest takes at the person's own pace. */

const REMEMBERED = 50;
const FEW = 5; // under this a pace is a guess
const AWAY = 60_000; // ms: longer than that nobody was looking

export class Pace {
  private readonly spans: number[] = [];

  /** One answer, `ms` after its picture came on. */
  add(ms: number): void {
    if (ms <= 0 || ms > AWAY) return;
    this.spans.push(ms);
    if (this.spans.length > REMEMBERED) this.spans.shift();
  }

  /** Median ms an answer takes, or null while there are too few. */
  get median(): number | null {
    if (this.spans.length < FEW) return null;
    const sorted = [...this.spans].sort((a, b) => a - b);
    const middle = sorted.length >> 1;
    return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  }

  text(open: number): string | null {
    const median = this.median;
    return median === null || open === 0 ? null : `${about(open * median)} at your pace`;
  }
}
