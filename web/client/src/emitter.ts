/** Typed events: each name with the value that its listeners get. */
export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<(value: never) => void>>();

  /** Calls `listener` at each event `name`; returns the function that ends it. */
  on<Name extends keyof Events>(name: Name, listener: (value: Events[Name]) => void): () => void {
    let listeners = this.#listeners.get(name);
    if (listeners === undefined) {
      listeners = new Set();
      this.#listeners.set(name, listeners);
    }
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }

  /** Tells every listener; one that throws does not keep the others from hearing. */
  protected emit<Name extends keyof Events>(name: Name, value: Events[Name]): void {
    for (const listener of this.#listeners.get(name) ?? []) {
      guarded(listener as (value: Events[Name]) => unknown, value);
    }
  }
}

/**
 * Calls `callback`. What it throws, or rejects with if it is `async`, is written to the console: as an uncaught error
 * it would end a program under Node.js.
 */
export function guarded<T>(callback: (value: T) => unknown, value: T): void {
  try {
    const returned = callback(value);
    if (returned instanceof Promise) returned.catch(report);
  } catch (thrown) {
    report(thrown);
  }
}

function report(thrown: unknown): void {
  console.error("fanout-gateway: a callback of the program failed:", thrown);
}
