/**
 * Keeps the pictures around the present one decoded: the next three, and two behind.  Those
 * behind them are fetched one after the other, without haste: they can be answered even when
 * the program ends.
 */

const AHEAD = 3;
const BEHIND = 2;
const FURTHER = 20;
const PAUSE = 150; // ms between two that nobody waits for
const KNOWN = 200; // addresses that need not be fetched again

export interface Decodable {
  src: string;
  decode(): Promise<void>;
}

export class Preloader {
  private readonly held = new Map<string, Decodable>();
  private readonly fetched = new Set<string>();
  private further: readonly string[] = [];
  private busy = false;

  constructor(
    private readonly make: () => Decodable = () => new Image(),
    private readonly load: (address: string) => Promise<unknown> = loaded,
  ) {}

  /** `addresses` in the order of the queue, `at` the one on screen. */
  show(addresses: readonly string[], at: number): void {
    const wanted = addresses.slice(Math.max(0, at - BEHIND), at + AHEAD + 1);
    for (const address of [...this.held.keys()]) {
      if (!wanted.includes(address)) this.drop(address);
    }
    for (const address of wanted) {
      this.note(address);
      if (this.held.has(address)) continue;
      const image = this.make();
      image.src = address;
      this.held.set(address, image);
      // A picture that cannot be decoded is reported where it is shown, not here.
      image.decode().catch(() => undefined);
    }
    this.further = addresses.slice(at + AHEAD + 1, at + FURTHER + 1);
    if (!this.busy) void this.fetchFurther();
  }

  private async fetchFurther(): Promise<void> {
    this.busy = true;
    for (;;) {
      await new Promise((done) => setTimeout(done, PAUSE));
      const next = this.further.find((address) => !this.fetched.has(address));
      if (next === undefined) break;
      try {
        await this.load(next);
      } catch {
        break; // nobody answers: the next picture in view tries again
      }
      this.note(next);
    }
    this.busy = false;
  }

  private note(address: string): void {
    this.fetched.delete(address);
    this.fetched.add(address);
    if (this.fetched.size > KNOWN) this.fetched.delete(this.fetched.values().next().value!);
  }

  private drop(address: string): void {
    const image = this.held.get(address);
    if (image) image.src = ""; // stops a transfer that nobody waits for
    this.held.delete(address);
  }

  get addresses(): string[] {
    return [...this.held.keys()];
  }
}

/** Into the browser's cache; nothing is decoded. */
async function loaded(address: string): Promise<void> {
  const options = { credentials: "same-origin", priority: "low" } as RequestInit;
  const answer = await fetch(address, options);
  await answer.arrayBuffer();
}
