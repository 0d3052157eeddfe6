import type { Answer, Answers } from "./answers.js";
import type { LeaseKeeper } from "./lease_keeper.js";
import { type LeaseFields, type Message, present } from "./wire.js";

/** How a delivery is given back. */
export interface NackOptions {
  /** Not before so many milliseconds, in place of the group's backoff. */
  readonly delay?: number;
  /** To the dead letters at once. */
  readonly dead?: boolean;
}

/** Does the work that a delivery stands for. `signal` aborts where the delivery is another member's by now. */
export type Handler<Data = unknown> = (delivery: Delivery<Data>, signal: AbortSignal) => unknown;

/**
 * A message that this member of a group has to deal with, until `deadline`: made by `Client.consume`.
 *
 * Answer it once, with `ack` or `nack`; a second answer is the first one's. While the connection is away an answer
 * waits for up to a minute, and then rejects with a `GatewayError`.
 */
export class Delivery<Data = unknown> implements Message<Data> {
  readonly topic: string;
  readonly id: string;
  readonly time: number;
  readonly data: Data;
  declare readonly contentType?: string;
  declare readonly headers?: Readonly<Record<string, string>>;
  declare readonly key?: string;
  declare readonly stream?: string;
  declare readonly offset?: number;
  declare readonly deleted?: true;
  readonly group: string;
  /** One more than the deliveries so far that failed. */
  readonly attempt: number;
  /** Grows with every lease of the group: hand it on to what you write to, which refuses a smaller one than it has seen. */
  readonly fence: number;
  readonly #lease: LeaseFields;
  readonly #answers: Answers;
  readonly #keeper: LeaseKeeper;
  #deadline: number;
  #answer: Promise<boolean> | null = null;

  /** Made by `Client.consume`. */
  constructor(message: Message, lease: LeaseFields, answers: Answers, keeper: LeaseKeeper) {
    this.topic = message.topic;
    this.id = message.id;
    this.time = message.time;
    this.data = message.data as Data;
    Object.assign(this, message);
    this.group = lease.group;
    this.attempt = lease.attempt;
    this.fence = lease.fence;
    this.#lease = lease;
    this.#answers = answers;
    this.#keeper = keeper;
    this.#deadline = lease.deadline;
  }

  /** Names the lease, on every connection and over HTTP. */
  get token(): string {
    return this.#lease.token;
  }

  /** Until when nobody else gets it, by the gateway's clock, in milliseconds since 1970. */
  get deadline(): number {
    return this.#deadline;
  }

  /** Whether it was answered. */
  get answered(): boolean {
    return this.#answer !== null;
  }

  /**
   * It is done. Resolves with false where the lease had run out: then it goes to another member, or has gone, or this
   * very answer was lost on its way back and is given for the second time.
   */
  ack(): Promise<boolean> {
    return this.#settle({ op: "ack" });
  }

  /** It is not done, and is delivered again after the group's backoff. Resolves as `ack`. */
  nack({ delay, dead }: NackOptions = {}): Promise<boolean> {
    return this.#settle({ op: "nack", ...present("delay", delay), ...present("dead", dead === true ? true : undefined) });
  }

  /** Moves the deadline to so many milliseconds from now, unless it is later. Resolves with false where it was too late. */
  async extend(by: number): Promise<boolean> {
    const from = Date.now();
    const good = await this.#answers.give({ op: "extend", by }, this.token);
    if (good) this.#deadline = Math.max(this.#deadline, from + by);
    return good;
  }

  /**
   * Calls `work`, keeps the lease alive as long as it runs, acks once it has returned, and nacks if it throws, unless
   * it has answered by itself. Resolves with the answer's result; rejects with what `work` threw. An abort of
   * `signal` is handed on to `work`.
   */
  async handle(work: Handler<Data>, signal?: AbortSignal): Promise<boolean> {
    const ended = new AbortController();
    const handOn = (): void => ended.abort(signal?.reason);
    if (signal?.aborted === true) handOn();
    signal?.addEventListener("abort", handOn);
    this.#keeper.keep(this, () => ended.abort(new Error("the lease has run out")));
    try {
      await work(this, ended.signal);
    } catch (thrown) {
      // What failed is what the program has to hear of, not that the gateway didn't.
      await this.nack().catch(() => undefined);
      throw thrown;
    } finally {
      signal?.removeEventListener("abort", handOn);
      this.#keeper.letGo(this);
    }
    return await this.ack();
  }

  #settle(answer: Answer): Promise<boolean> {
    this.#keeper.letGo(this);
    this.#answer ??= this.#answers.give(answer, this.token);
    return this.#answer;
  }
}
