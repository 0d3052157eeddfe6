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
      guarded(listener as (value: Events[Name]) => void, value);
    }
  }
}

/** Calls `callback`; what it throws is reported as an uncaught error, and does not disturb the connection. */
export function guarded<T>(callback: (value: T) => void, value: T): void {
  try {
    callback(value);
  } catch (thrown) {
    queueMicrotask(() => {
      throw thrown;
    });
  }
}
