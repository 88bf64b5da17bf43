/** A value that tells when it changes, and a hook that draws again only when a part of it did. */

import { useEffect, useRef, useState } from "preact/hooks";

export class Observable<T extends object> {
  private listeners = new Set<() => void>();

  constructor(private value: T) {}

  get now(): T {
    return this.value;
  }

  set(change: Partial<T>): void {
    this.value = { ...this.value, ...change };
    for (const listener of [...this.listeners]) listener();
  }

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}

/** `pick` must give the same object for the same state: parts of it, no new ones. */
export function usePart<T extends object, P>(source: Observable<T>, pick: (value: T) => P): P {
  const [, draw] = useState(0);
  const picked = pick(source.now);
  const last = useRef(picked);
  last.current = picked;
  const latest = useRef(pick);
  latest.current = pick;
  useEffect(
    () =>
      source.subscribe(() => {
        if (!Object.is(latest.current(source.now), last.current)) draw((n) => n + 1);
      }),
    [source],
  );
  return picked;
}
