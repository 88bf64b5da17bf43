/**
 * Lets few pictures load at a time.  A browser has about six connections to one address; with
 * four for pictures and one for the stream an answer always finds one free.
 */

export class Gate {
  private inside = 0;
  private waiting: (() => void)[] = [];

  constructor(private readonly room: number = 4) {}

  /** Calls `start` when there is room; the function given back leaves, or gives up the place. */
  enter(start: () => void): () => void {
    let entered = false;
    let left = false;
    const go = () => {
      entered = true;
      this.inside += 1;
      start();
    };
    if (this.inside < this.room) go();
    else this.waiting.push(go);
    return () => {
      if (left) return;
      left = true;
      if (entered) {
        this.inside -= 1;
        this.waiting.shift()?.();
      } else {
        this.waiting = this.waiting.filter((other) => other !== go);
      }
    };
  }

  get loading(): number {
    return this.inside;
  }
}
