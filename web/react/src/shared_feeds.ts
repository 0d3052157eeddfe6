import type { Client } from "@fanout-gateway/client";

/** What components of one client share: it runs while anybody listens. */
export interface Feed<View> {
  readonly view: View;
  start(changed: () => void): void;
  stop(): void;
}

/**
 * For how long a feed that nobody listens to goes on, in milliseconds: a component that takes another one's place, or comes back at
 * once as in strict mode, finds what was there.
 */
const LINGER = 1000;
/** Listeners are told at once, then at most once in this time, in milliseconds: a screen shows no more. */
const INTERVAL = 16;

class Running<View> {
  readonly #listeners = new Set<() => void>();
  #lingering: ReturnType<typeof setTimeout> | undefined;
  #pause: ReturnType<typeof setTimeout> | undefined;
  #changed = false;
  /** What components see: it changes when they are told, not between. */
  shown: View;

  constructor(
    private readonly feed: Feed<View>,
    private readonly over: () => void,
  ) {
    feed.start(() => this.#change());
    this.shown = feed.view;
  }

  listen(listener: () => void): () => void {
    clearTimeout(this.#lingering);
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size > 0) return;
      this.#lingering = setTimeout(() => {
        clearTimeout(this.#pause);
        this.over();
        this.feed.stop();
      }, LINGER);
    };
  }

  #change(): void {
    this.#changed = true;
    if (this.#pause !== undefined) return;
    this.#tell();
  }

  #tell(): void {
    this.#changed = false;
    this.shown = this.feed.view;
    this.#pause = setTimeout(() => {
      this.#pause = undefined;
      if (this.#changed) this.#tell();
    }, INTERVAL);
    for (const listener of [...this.#listeners]) listener();
  }
}

/** Feeds of one kind, by client and by what was asked for. */
export class SharedFeeds<View> {
  readonly #running = new WeakMap<Client, Map<string, Running<View>>>();

  /** Listens to the feed `key`, which is made where nobody does yet; returns the function that ends it. */
  listen(client: Client, key: string, make: () => Feed<View>, listener: () => void): () => void {
    let feeds = this.#running.get(client);
    if (feeds === undefined) this.#running.set(client, (feeds = new Map()));
    const known = feeds.get(key);
    if (known !== undefined) return known.listen(listener);
    const running = new Running(make(), () => feeds.delete(key));
    feeds.set(key, running);
    return running.listen(listener);
  }

  /** What the feed shows; undefined where nobody listens to it. */
  shown(client: Client, key: string): View | undefined {
    return this.#running.get(client)?.get(key)?.shown;
  }
}
