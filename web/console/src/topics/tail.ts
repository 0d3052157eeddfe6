/** The tail behind the room: its filters, their subscriptions, what came. It goes on while another room is open. */
import { type Client, GatewayError, type Message, type Subscription } from "@fanout-gateway/client";
import { effect, signal } from "@preact/signals";
import { inWords } from "../gateway/api.js";
import { client } from "../gateway/session.js";
import { toStart } from "./beginning.js";
import { Feed } from "./feed.js";
import { TopicTree } from "./tree.js";

export interface FilterEntry {
  readonly filter: string;
  /** Whether the gateway has confirmed it. */
  readonly pending: boolean;
}

interface Held {
  pending: boolean;
  count: number;
  subscription: Subscription | null;
}

export class Tail {
  readonly feed = new Feed();
  readonly tree = new TopicTree();
  readonly filters = signal<readonly FilterEntry[]>([]);
  /** Why the last filter was refused. */
  readonly problem = signal<string | null>(null);
  /** Where the filters begin (`beginning.ts`). */
  readonly from = signal("");
  readonly #held = new Map<string, Held>();
  #client: Client | null = null;
  #off: (() => void)[] = [];

  /** Takes another client; the filters are subscribed there anew. */
  use(next: Client | null): void {
    for (const off of this.#off.splice(0)) off();
    this.#client = next;
    if (next === null) return;
    this.#off = [
      next.on("message", (message) => {
        const receivedAt = Date.now();
        const past = this.#readsHistory(message);
        this.feed.add({ kind: "message", receivedAt, message, past });
        this.tree.add(message, receivedAt, past);
      }),
      next.on("gap", (gap) => this.feed.add({ kind: "gap", receivedAt: Date.now(), gap })),
    ];
    for (const [filter, held] of this.#held) {
      held.subscription = null;
      held.pending = true;
      void this.#subscribe(next, filter, held);
    }
    this.#show();
  }

  /** Has exactly these filters, beginning there; what stays as it is isn't touched. Returns those that were refused. */
  async set(filters: readonly string[], from: string): Promise<readonly string[]> {
    if (from !== this.from.value) {
      this.from.value = from;
      for (const filter of [...this.#held.keys()]) await this.remove(filter);
      this.clear();
    }
    for (const filter of this.#held.keys()) if (!filters.includes(filter)) void this.remove(filter);
    const added = filters.filter((filter) => !this.#held.has(filter));
    const confirmed = await Promise.all(added.map((filter) => this.add(filter)));
    return added.filter((_, index) => confirmed[index] === false);
  }

  /** Whether the gateway has confirmed it; the reason is in `problem` where not. */
  async add(filter: string): Promise<boolean> {
    if (this.#held.has(filter)) return true;
    this.problem.value = null;
    const held: Held = { pending: true, count: 0, subscription: null };
    this.#held.set(filter, held);
    this.#show();
    return this.#client === null ? true : await this.#subscribe(this.#client, filter, held);
  }

  async remove(filter: string): Promise<void> {
    const held = this.#held.get(filter);
    this.#held.delete(filter);
    this.#show();
    await held?.subscription?.unsubscribe().catch((error: unknown) => (this.problem.value = inWords(error)));
  }

  count(filter: string): number {
    return this.#held.get(filter)?.count ?? 0;
  }

  clear(): void {
    this.feed.clear();
    this.tree.clear();
    for (const held of this.#held.values()) held.count = 0;
  }

  /** Whether it may have been published before: such messages have no part in what comes per second. */
  #readsHistory(message: Message): boolean {
    if (message.offset === undefined || this.from.value === "") return false;
    return [...this.#held.values()].some(({ subscription }) => subscription?.caughtUp !== true);
  }

  async #subscribe(to: Client, filter: string, held: Held): Promise<boolean> {
    const start = toStart(this.from.value);
    try {
      const subscription = await to.subscribe(filter, {
        onMessage: () => void (held.count += 1),
        ...(start === undefined ? {} : { from: start }),
      });
      if (this.#held.get(filter) !== held || to !== this.#client) {
        await subscription.unsubscribe().catch(() => undefined); // removed while it was pending
        return true;
      }
      held.subscription = subscription;
      held.pending = false;
      this.#show();
      return true;
    } catch (error) {
      if (to !== this.#client || this.#held.get(filter) !== held) return false;
      this.#held.delete(filter);
      this.problem.value = `${filter}: ${error instanceof GatewayError ? error.reason : inWords(error)}`;
      this.#show();
      return false;
    }
  }

  #show(): void {
    this.filters.value = [...this.#held].map(([filter, { pending }]) => ({ filter, pending }));
  }
}

export const tail = new Tail();
effect(() => {
  const current = client.value;
  queueMicrotask(() => tail.use(current));
});
