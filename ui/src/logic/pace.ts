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
    return median === null || open === 0 ? null : `about ${duration(open * median)} at your pace`;
  }
}

/** 40 s, 9 min, 2 h 10 min: never more exact than it deserves. */
export function duration(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 10) return "a few seconds";
  if (seconds < 55) return `${Math.round(seconds / 10) * 10} s`;
  const minutes = Math.max(1, Math.round(seconds / 60));
  if (minutes < 60) return `${minutes} min`;
  const rest = Math.round((minutes % 60) / 10) * 10;
  const hours = Math.floor(minutes / 60) + (rest === 60 ? 1 : 0);
  return rest === 0 || rest === 60 ? `${hours} h` : `${hours} h ${rest} min`;
}
