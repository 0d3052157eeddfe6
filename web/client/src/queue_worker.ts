import type { ConsumeOptions, Consumer } from "./consumer.js";
import type { Delivery, Handler } from "./delivery.js";
import { GatewayError } from "./errors.js";

export interface WorkOptions<Data = unknown> extends Omit<ConsumeOptions, "credit" | "signal"> {
  /** How many deliveries are worked on at once. Default 1. */
  readonly concurrency?: number;
  /** How many may be here, begun or not. More than `concurrency`, the default, saves a round trip for short work. */
  readonly credit?: number;
  /** How long one may take, in milliseconds: then its signal aborts and it is nacked. Default: for ever. */
  readonly timeout?: number;
  /** Hears what `handler` threw, after the nack. Default: the console. */
  readonly onError?: (thrown: unknown, delivery: Delivery<Data>) => void;
}

/** For how long a worker whose patience is over waits for the gateway to take back what it gives back, in milliseconds. */
const GIVING_BACK = 2000;

/** Works a consumer group off until it is stopped: made by `Client.work`. */
export class QueueWorker<Data = unknown> {
  /** Resolves after `stop`; rejects with a `GatewayError` where the gateway or the client has ended it. */
  readonly done: Promise<void>;
  readonly #consumer: Consumer<Data>;
  readonly #handler: Handler<Data>;
  readonly #concurrency: number;
  readonly #timeout: number | undefined;
  readonly #onError: (thrown: unknown, delivery: Delivery<Data>) => void;
  readonly #running = new Set<Promise<void>>();
  /** One for each that is being worked on: Node takes many listeners of one signal for a leak, and says so. */
  readonly #aborts = new Set<AbortController>();
  #giveUp: () => void = () => undefined;
  readonly #givenUp = new Promise<void>((resolve) => (this.#giveUp = resolve));
  #stopping = false;
  /** Looks again at what `#run` waits for. A new one for each wait: what waits for one that lasts is never let go. */
  #wake: () => void = () => undefined;

  /** Made by `Client.work`. */
  constructor(consumer: Consumer<Data>, options: WorkOptions<Data>, handler: Handler<Data>) {
    this.#consumer = consumer;
    this.#handler = handler;
    this.#concurrency = options.concurrency ?? 1;
    this.#timeout = options.timeout;
    this.#onError = options.onError ?? report;
    this.done = this.#run();
    this.done.catch(() => undefined); // who doesn't ask has heard of it by the client's `error` event
  }

  /** How many deliveries are being worked on. */
  get running(): number {
    return this.#running.size;
  }

  /**
   * Begins nothing more, waits for what has begun, up to `patience` milliseconds (default: for ever), and gives the
   * rest back. What has not ended by then is given back too, and its signal aborts. A gateway that does not answer then
   * is waited for 2 s more at most.
   */
  async stop(patience?: number): Promise<void> {
    this.#stopping = true;
    this.#wake();
    if (patience === undefined) {
      await this.#stopped();
      return;
    }
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(() => {
        timer = setTimeout(resolve, GIVING_BACK);
        this.#giveUp();
        for (const abort of this.#aborts) abort.abort(new Error("the worker was stopped"));
        void this.#consumer.close().catch(() => undefined);
      }, patience);
    });
    await Promise.race([this.#stopped(), late]).finally(() => clearTimeout(timer));
  }

  async #stopped(): Promise<void> {
    if (this.#running.size > 0) await this.#lowerCredit(this.#running.size);
    await this.done;
  }

  async #run(): Promise<void> {
    const deliveries = this.#consumer[Symbol.asyncIterator]();
    try {
      while (!this.#stopping) {
        // What comes after the stop is not begun, and goes back with the rest.
        const next = await Promise.race([deliveries.next(), this.#until(() => this.#stopping)]);
        if (next === undefined || next.done === true) break;
        this.#begin(next.value);
        await this.#until(() => this.#stopping || this.#running.size < this.#concurrency);
      }
    } finally {
      await Promise.race([Promise.all(this.#running), this.#givenUp]);
      await this.#consumer.close();
    }
  }

  #until(condition: () => boolean): Promise<undefined> {
    return new Promise((resolve) => {
      this.#wake = () => {
        if (condition()) resolve(undefined);
      };
      this.#wake();
    });
  }

  #begin(delivery: Delivery<Data>): void {
    const job = this.#handle(delivery).finally(() => {
      this.#running.delete(job);
      this.#wake();
    });
    this.#running.add(job);
  }

  async #handle(delivery: Delivery<Data>): Promise<void> {
    const abort = new AbortController();
    this.#aborts.add(abort);
    try {
      await delivery.handle(async (_delivery, signal) => {
        await this.#inTime(delivery, signal);
        // Or the ack would bring another one, which nobody begins.
        if (this.#stopping) await this.#lowerCredit(this.#running.size - 1);
      }, abort.signal);
    } catch (thrown) {
      try {
        this.#onError(thrown, delivery);
      } catch (failure) {
        report(failure);
      }
    } finally {
      this.#aborts.delete(abort);
    }
  }

  async #inTime(delivery: Delivery<Data>, lost: AbortSignal): Promise<void> {
    if (this.#timeout === undefined) {
      await this.#handler(delivery, lost);
      return;
    }
    const late = new GatewayError("timeout", `the handler has not ended in ${this.#timeout} ms`);
    const ended = new AbortController();
    lost.addEventListener("abort", () => ended.abort(lost.reason));
    let timer: ReturnType<typeof setTimeout> | undefined;
    const tooLate = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => {
        ended.abort(late);
        reject(late);
      }, this.#timeout);
    });
    try {
      await Promise.race([this.#handler(delivery, ended.signal), tooLate]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #lowerCredit(most: number): Promise<void> {
    await this.#consumer.setCredit(Math.max(1, most)).catch(() => undefined);
  }
}

function report(thrown: unknown): void {
  console.error("fanout-gateway: a handler failed:", thrown);
}
