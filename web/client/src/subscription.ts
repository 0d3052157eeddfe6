import type { Inbox } from "./inbox.js";
import type { Positions } from "./positions.js";
import type { Message } from "./wire.js";

/**
 * One caller's interest in a topic filter. Iterate over it for its messages, unless it was made with `onMessage`:
 *
 *     for await (const message of subscription) …
 *
 * Leaving the loop keeps the subscription; `unsubscribe` ends it, and the loop once what had arrived is read.
 * The loop throws a `GatewayError` if the gateway ends the subscription.
 */
export class Subscription<Data = unknown> implements AsyncIterable<Message<Data>> {
  readonly #inbox: Inbox;
  readonly #unsubscribe: () => Promise<void>;

  /** Made by `Client.subscribe`. */
  constructor(inbox: Inbox, unsubscribe: () => Promise<void>) {
    this.#inbox = inbox;
    this.#unsubscribe = unsubscribe;
  }

  get filter(): string {
    return this.#inbox.filter;
  }

  /** How many messages wait to be read. */
  get buffered(): number {
    return this.#inbox.buffered;
  }

  /**
   * By stream where the last message was that the program was given, to be kept once it has been dealt with, and
   * used as `resume`. What waits in the buffer doesn't count.
   */
  get positions(): Positions {
    return this.#inbox.positions;
  }

  /** Whether the program was given all the history that it asked for; true where it asked for none. */
  get caughtUp(): boolean {
    return this.#inbox.caughtUp;
  }

  /** Ends this interest; the gateway is told when no other caller shares the filter. */
  unsubscribe(): Promise<void> {
    return this.#unsubscribe();
  }

  [Symbol.asyncIterator](): AsyncIterator<Message<Data>, undefined> {
    if (this.#inbox.usesCallback) throw new TypeError("a subscription made with onMessage cannot be iterated over");
    return {
      next: () => this.#inbox.take() as Promise<IteratorResult<Message<Data>, undefined>>,
      return: () => Promise.resolve({ done: true, value: undefined }),
    };
  }
}
