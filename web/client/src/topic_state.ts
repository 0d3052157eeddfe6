import { Emitter } from "./emitter.js";
import { GatewayError } from "./errors.js";
import type { Position, Positions } from "./positions.js";
import type { Recipient } from "./strand.js";
import { PendingChanges, StateView, type TopicChange } from "./state_view.js";
import type { Gap, Message } from "./wire.js";

export interface StateOptions {
  /** Where there are more topics, the state ends with `too_many`. Default 10,000. */
  readonly maxTopics?: number;
}

/** What a state asks of the client that made it. */
export interface StateSource {
  /** Has the gateway asked for the snapshot again. */
  beginAnew(recipient: Recipient): void;
  leave(recipient: Recipient): Promise<void>;
}

/**
 * The last messages of all topics that match a filter, kept current: made by `Client.state`.
 *
 * `subscribe` and `getSnapshot` are what React's `useSyncExternalStore` wants. Iterate over it for its changes:
 *
 *     for await (const change of state) …
 *
 * A reconnect goes on where it was. Where that is not possible, or something is missing, a new snapshot is taken; until
 * that one is whole, what was there before is shown, and `stale` is true.
 */
export class TopicState<Data = unknown> implements AsyncIterable<TopicChange<Data>> {
  /** Resolves once it is whole for the first time; rejects with a `GatewayError` where that will not be. */
  readonly ready: Promise<void>;
  readonly #feed: StateFeed;

  /** Made by `Client.state`. */
  constructor(
    readonly filter: string,
    feed: StateFeed,
  ) {
    this.#feed = feed;
    this.ready = feed.ready;
  }

  /** The present view: never changed, and another object only where something has changed. */
  readonly getSnapshot = (): ReadonlyMap<string, Message<Data>> =>
    this.#feed.snapshot() as ReadonlyMap<string, Message<Data>>;

  /** Calls `listener` whenever the view or `stale` has changed; returns the function that ends it. */
  readonly subscribe = (listener: () => void): (() => void) => this.#feed.on("change", listener);

  /** Per stream what the view is as of, as `resume` takes it. */
  get positions(): Positions {
    return this.#feed.view.positions;
  }

  /** Whether there may be newer values: not yet whole, not connected, about to begin anew, or ended. */
  get stale(): boolean {
    return this.#feed.stale;
  }

  /** Why it has ended, if it was not by `close`. */
  get error(): GatewayError | null {
    return this.#feed.error;
  }

  /** Ends it; what was shown stays. */
  close(): Promise<void> {
    return this.#feed.close();
  }

  /** The changes from this moment on; those of one topic are merged while nobody takes them. */
  [Symbol.asyncIterator](): AsyncIterator<TopicChange<Data>, undefined> {
    return this.#feed.follow() as AsyncIterator<TopicChange<Data>, undefined>;
  }
}

/** Takes what the registry has for a filter, and changes the view by it at once: nothing waits here. */
export class StateFeed extends Emitter<{ change: undefined }> implements Recipient {
  readonly view: StateView;
  readonly ready: Promise<void>;
  error: GatewayError | null = null;
  #ended = false;
  #live = false;
  #snapshot: ReadonlyMap<string, Message> | null = null;
  #resolve: () => void = () => undefined;
  #reject: (error: GatewayError) => void = () => undefined;
  readonly #followers = new Set<Follower>();

  constructor(
    readonly filter: string,
    { maxTopics = 10_000 }: StateOptions,
    private readonly source: StateSource,
  ) {
    super();
    if (!Number.isInteger(maxTopics) || maxTopics < 1) throw new RangeError("maxTopics is at least 1");
    this.view = new StateView(maxTopics);
    this.ready = new Promise<void>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.ready.catch(() => undefined); // who doesn't ask has `error`
  }

  get stale(): boolean {
    return this.#ended || !this.#live || !this.view.following;
  }

  snapshot(): ReadonlyMap<string, Message> {
    // Copied where somebody looks, not with each message: many of them may come between two looks.
    this.#snapshot ??= new Map(this.view.shown);
    return this.#snapshot;
  }

  follow(): Follower {
    const follower = new Follower(() => this.#followers.delete(follower));
    if (this.#ended) follower.end(this.error);
    else this.#followers.add(follower);
    return follower;
  }

  close(): Promise<void> {
    this.end(null);
    return this.source.leave(this);
  }

  begin(positions: Positions | null): void {
    if (!this.#ended) this.#tell(this.view.begin(positions));
  }

  offer(message: Message, position: Position | null = null): void {
    if (this.#ended) return;
    try {
      this.#tell(this.view.receive(message, position));
    } catch (thrown) {
      this.end(thrown as GatewayError);
      void this.source.leave(this).catch(() => undefined);
    }
  }

  catchUp(begun?: Positions): void {
    if (this.#ended) return;
    const changes = this.view.catchUp(begun);
    this.#live = true;
    this.#resolve();
    this.#tell(changes, true);
  }

  tell(gap: Gap): void {
    if (this.#ended) return;
    const { changes, anew } = this.view.passGap(gap);
    this.#tell(changes);
    if (anew) this.source.beginAnew(this); // which has it `lose`
  }

  lose(): void {
    if (!this.#live) return;
    this.#live = false;
    this.#tell([], true);
  }

  end(error: GatewayError | null): void {
    if (this.#ended) return;
    this.#ended = true;
    this.error = error;
    this.#reject(error ?? new GatewayError("closed", "the state was closed"));
    for (const follower of this.#followers) follower.end(error);
    this.#followers.clear();
    this.#tell([], true);
  }

  #tell(changes: readonly TopicChange[], staleness = false): void {
    if (changes.length > 0) this.#snapshot = null;
    for (const follower of this.#followers) follower.add(changes);
    if (changes.length > 0 || staleness) this.emit("change", undefined);
  }
}

/** One reader of changes. */
class Follower implements AsyncIterator<TopicChange, undefined> {
  readonly #pending = new PendingChanges();
  readonly #readers: { resolve: (result: IteratorResult<TopicChange, undefined>) => void; reject: (error: GatewayError) => void }[] = [];
  #ended: { readonly error: GatewayError | null } | null = null;

  constructor(private readonly leave: () => void) {}

  add(changes: readonly TopicChange[]): void {
    for (const change of changes) {
      const reader = this.#readers.shift();
      if (reader === undefined) this.#pending.add(change);
      else reader.resolve({ done: false, value: change });
    }
  }

  end(error: GatewayError | null): void {
    this.#ended ??= { error };
    for (const { resolve, reject } of this.#readers.splice(0)) {
      if (error === null) resolve({ done: true, value: undefined });
      else reject(error);
    }
  }

  next(): Promise<IteratorResult<TopicChange, undefined>> {
    const value = this.#pending.take();
    if (value !== undefined) return Promise.resolve({ done: false, value });
    if (this.#ended === null) return new Promise((resolve, reject) => this.#readers.push({ resolve, reject }));
    const { error } = this.#ended;
    return error === null ? Promise.resolve({ done: true, value: undefined }) : Promise.reject(error);
  }

  return(): Promise<IteratorResult<TopicChange, undefined>> {
    this.leave();
    this.end(null);
    return Promise.resolve({ done: true, value: undefined });
  }
}
