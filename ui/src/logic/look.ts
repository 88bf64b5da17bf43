/** How values become light: for the eye alone, nothing is learned from it. */

export interface Look {
  low: number | null; // the value that is black; null: as the server finds it
  high: number | null; // the value that is white
  auto: boolean | null; // between the percentiles; null: from nine bits on
  invert: boolean;
  channel: number | null; // of several; null: the colours, else the first
}

export const AS_IT_COMES: Look = { low: null, high: null, auto: null, invert: false, channel: null };

export const plain = (look: Look): boolean =>
  (Object.keys(AS_IT_COMES) as (keyof Look)[]).every((name) => look[name] === AS_IT_COMES[name]);

/** As the server is asked. */
export function asked({ low, high, auto, invert, channel }: Look): Record<string, string | number | null> {
  const own = low !== null && high !== null;
  return {
    channel, invert: invert ? 1 : null, auto: own || auto === null ? null : Number(auto),
    low: own ? low : null, high: own ? high : null,
  };
}

/** Both ends after one was moved: black stays below white. */
export function moved(
  ends: { low: number; high: number }, end: "low" | "high", to: number, step: number,
): { low: number; high: number } {
  return end === "low"
    ? { low: Math.min(to, ends.high - step), high: ends.high }
    : { low: ends.low, high: Math.max(to, ends.low + step) };
}

/** The width of a step of the slider: whole values, and hundredths of what has fractions. */
export function stepOf(least: number, most: number): number {
  const whole = Number.isInteger(least) && Number.isInteger(most);
  return whole ? Math.max(1, Math.round((most - least) / 1000)) : (most - least || 1) / 1000;
}
