import { type Client, type Gap, GatewayError, type Message, type SubscribeOptions } from "@fanout-gateway/client";
import type { Feed } from "./shared_feeds.js";

/** What a component sees of a topic filter. */
export interface TopicView<Data = unknown> {
  /** The newest ones, up to `limit`, oldest first. */
  readonly messages: readonly Message<Data>[];
  readonly latest: Message<Data> | null;
  /** `idle`: on a server, and before it has begun. `live`: confirmed, and all history that was asked for is here. */
  readonly status: "idle" | "subscribing" | "live" | "failed";
  /** The last loss of messages. */
  readonly gap: Gap | null;
  /** Why it failed; where `retryable`, it is tried again. */
  readonly error: GatewayError | null;
}

export const IDLE_TOPIC: TopicView<never> = Object.freeze({ messages: [], latest: null, status: "idle", gap: null, error: null });

const RETRY = 5000;

/** A subscription, as a view that changes. */
export class TopicFeed implements Feed<TopicView> {
  #view: TopicView = { ...IDLE_TOPIC, status: "subscribing" };
  #messages: Message[] = [];
  #fresh = false;
  #end = new AbortController();
  #retry: ReturnType<typeof setTimeout> | undefined;
  #changed: () => void = () => undefined;

  constructor(
    private readonly client: Client,
    private readonly filter: string,
    private readonly options: Pick<SubscribeOptions, "from" | "overflow">,
    private readonly limit: number,
  ) {}

  get view(): TopicView {
    if (this.#fresh) {
      // A new list where somebody looks, not with each message.
      const messages = this.#messages.slice(-this.limit);
      this.#view = { ...this.#view, messages, latest: messages.at(-1) ?? null };
      this.#fresh = false;
    }
    return this.#view;
  }

  start(changed: () => void): void {
    this.#changed = changed;
    void this.#subscribe();
  }

  stop(): void {
    clearTimeout(this.#retry);
    this.#end.abort();
  }

  async #subscribe(): Promise<void> {
    const { signal } = this.#end;
    try {
      const subscription = await this.client.subscribe(this.filter, {
        ...this.options,
        signal,
        timeout: Infinity,
        onMessage: (message) => this.#receive(message),
        onGap: (gap) => this.#change({ gap }),
        onCaughtUp: () => this.#change({ status: "live", error: null }),
        onEnd: (error) => {
          if (error !== null) this.#failed(error);
        },
      });
      if (subscription.caughtUp) this.#change({ status: "live", error: null });
    } catch (thrown) {
      this.#failed(thrown);
    }
  }

  #receive(message: Message): void {
    this.#messages.push(message);
    // Cut now and then, not with each message.
    if (this.#messages.length >= 2 * this.limit) this.#messages.splice(0, this.#messages.length - this.limit);
    this.#fresh = true;
    this.#changed();
  }

  #failed(thrown: unknown): void {
    if (this.#end.signal.aborted) return;
    const error = thrown instanceof GatewayError ? thrown : new GatewayError("internal", String(thrown));
    this.#change({ status: "failed", error });
    clearTimeout(this.#retry);
    if (error.retryable) this.#retry = setTimeout(() => void this.#subscribe(), RETRY * (0.5 + Math.random()));
  }

  #change(change: Partial<TopicView>): void {
    this.#view = { ...this.#view, ...change };
    this.#changed();
  }
}
