import type { Delivery } from "./delivery.js";
import type { GatewayError } from "./errors.js";
import type { Membership } from "./membership.js";

export interface ConsumeOptions {
  /** The stream's consumer group, as the gateway is configured. */
  readonly group: string;
  /** The most deliveries that may be unanswered, 1 to 10,000. The gateway's default is 32. */
  readonly credit?: number;
  /** What the group works off, for a program that wants to be sure: another one is refused with `conflict`. */
  readonly filter?: string;
  /** Ends it, as `close`. */
  readonly signal?: AbortSignal;
}

/**
 * A member of a consumer group: made by `Client.consume`. Iterate over it for its deliveries, and answer each:
 *
 *     for await (const delivery of client.consume("orders", { group: "billing" })) {
 *       await delivery.handle(async ({ data }) => bill(data));
 *     }
 *
 * It joins its group again after a reconnect. Deliveries that wait in it keep their leases; those that the loop was
 * given are the program's to answer in time, to `extend` or to `handle`. Leaving the loop is `close`.
 */
export class Consumer<Data = unknown> implements AsyncIterable<Delivery<Data>> {
  /** Resolves once the gateway has made it a member; rejects with a `GatewayError` where that will not be. */
  readonly ready: Promise<void>;
  readonly #membership: Membership;

  /** Made by `Client.consume`. */
  constructor(membership: Membership) {
    this.#membership = membership;
    this.ready = membership.ready;
  }

  get stream(): string {
    return this.#membership.stream;
  }

  get group(): string {
    return this.#membership.group;
  }

  /** How many deliveries wait to be taken. */
  get buffered(): number {
    return this.#membership.buffered;
  }

  /** Why it has ended, if it was not by the program. */
  get error(): GatewayError | null {
    return this.#membership.error;
  }

  /** Changes the most deliveries that may be unanswered. */
  setCredit(credit: number): Promise<void> {
    return this.#membership.setCredit(credit);
  }

  /** Leaves the group, and the loop: what is unanswered goes to other members at once, and counts as no failure. */
  close(): Promise<void> {
    return this.#membership.close();
  }

  [Symbol.asyncIterator](): AsyncIterator<Delivery<Data>, undefined> {
    return {
      next: () => this.#membership.take() as Promise<IteratorResult<Delivery<Data>, undefined>>,
      return: async () => {
        await this.close();
        return { done: true, value: undefined };
      },
    };
  }
}
