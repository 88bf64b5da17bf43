/** Keeps the pictures around the present one decoded: the next three, and two behind. */

const AHEAD = 3;
const BEHIND = 2;

export interface Decodable {
  src: string;
  decode(): Promise<void>;
}

export class Preloader {
  private readonly held = new Map<string, Decodable>();

  constructor(private readonly make: () => Decodable = () => new Image()) {}

  /** `addresses` in the order of the queue, `at` the one on screen. */
  show(addresses: readonly string[], at: number): void {
    const wanted = addresses.slice(Math.max(0, at - BEHIND), at + AHEAD + 1);
    for (const address of [...this.held.keys()]) {
      if (!wanted.includes(address)) this.drop(address);
    }
    for (const address of wanted) {
      if (this.held.has(address)) continue;
      const image = this.make();
      image.src = address;
      this.held.set(address, image);
      // A picture that cannot be decoded is reported where it is shown, not here.
      image.decode().catch(() => undefined);
    }
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
