/**
 * Which filters this client holds at the gateway, and who of the program shares each.
 *
 * The gateway sends a message once per connection, however many of its filters match, so the way from a message to
 * the callers that want it is found here. A filter is subscribed once on the wire, whatever number of callers asked.
 */
import { GatewayError, toGatewayError } from "./errors.js";
import type { Inbox } from "./inbox.js";
import { matches } from "./topics.js";
import type { CommandFrame, Gap, Message, Overflow, ServerFrame } from "./wire.js";

/** The connection as the registry needs it: sends a command, resolves with its reply. */
export type Request = (command: CommandFrame) => Promise<ServerFrame>;

export interface WireOptions {
  readonly overflow?: Overflow;
}

/** One filter at the gateway. `live`: the gateway has confirmed it on the present connection. */
interface Shared {
  readonly filter: string;
  readonly inboxes: Set<Inbox>;
  readonly waiters: Set<Waiter>;
  options: WireOptions;
  live: boolean;
  /** It was live on a connection that is gone: there is a gap to tell once it is live again. */
  missed: boolean;
  attempt: number;
}

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: GatewayError) => void;
}

const CACHED_TOPICS = 1024;
const RETRY_MILLISECONDS = 2000;

export class Registry {
  readonly #shared = new Map<string, Shared>();
  readonly #routes = new Map<string, readonly Shared[]>();
  #request: Request | null = null;

  constructor(
    private readonly onGap: (gap: Gap) => void,
    private readonly onError: (error: GatewayError) => void,
  ) {}

  /** Adds `inbox` to its filter; resolves once the gateway has confirmed it, however many connections that takes. */
  add(inbox: Inbox, options: WireOptions): Promise<void> {
    let shared = this.#shared.get(inbox.filter);
    const known = shared !== undefined;
    if (shared === undefined) {
      shared = newShared(inbox.filter);
      this.#shared.set(inbox.filter, shared);
      this.#routes.clear();
    }
    shared.inboxes.add(inbox);
    const changed = options.overflow !== undefined && options.overflow !== shared.options.overflow;
    if (changed) shared.options = options;
    if (known && shared.live && !changed) return Promise.resolve();
    const { waiters } = shared;
    const confirmed = new Promise<void>((resolve, reject) => waiters.add({ resolve, reject }));
    if (!known || changed) void this.#establish(shared);
    return confirmed;
  }

  /** Takes `inbox` out; the last of a filter unsubscribes it at the gateway. */
  async remove(inbox: Inbox): Promise<void> {
    inbox.end(null);
    const shared = this.#shared.get(inbox.filter);
    if (shared === undefined || !shared.inboxes.delete(inbox) || shared.inboxes.size > 0) return;
    this.#forget(shared);
    for (const waiter of shared.waiters) waiter.reject(new GatewayError("closed", "unsubscribed"));
    try {
      await this.#request?.({ op: "unsubscribe", filter: inbox.filter });
    } catch (thrown) {
      // Without a connection, or where the gateway had refused the filter, there is nothing left to undo.
      const error = toGatewayError(thrown, "internal");
      if (!["unavailable", "not_found", "closed"].includes(error.code)) throw error;
    }
  }

  /** A connection is ready: subscribes every filter on it. */
  attach(request: Request): void {
    this.#request = request;
    for (const shared of this.#shared.values()) void this.#establish(shared);
  }

  /** The connection is gone. */
  detach(): void {
    this.#request = null;
    for (const shared of this.#shared.values()) {
      shared.missed ||= shared.live;
      shared.live = false;
      shared.attempt += 1;
    }
  }

  /** Ends everything: `null` if the program asked for it. */
  close(error: GatewayError | null): void {
    this.detach();
    for (const shared of [...this.#shared.values()]) this.#end(shared, error);
  }

  /** Hands a message to those who want it; one with `filter` is history, for that filter alone. */
  deliver(message: Message, filter: string | null): void {
    const targets = filter === null ? this.#route(message.topic) : [this.#shared.get(filter)];
    for (const shared of targets) {
      if (shared?.live === true) {
        for (const inbox of shared.inboxes) inbox.offer(message);
      }
    }
  }

  /** Tells a gap to the filter that it names, or to all. */
  tell(gap: Gap): void {
    const targets = gap.filter === undefined ? this.#shared.values() : [this.#shared.get(gap.filter)];
    for (const shared of targets) {
      for (const inbox of shared?.inboxes ?? []) inbox.tell(gap);
    }
    this.onGap(gap);
  }

  #route(topic: string): readonly Shared[] {
    const known = this.#routes.get(topic);
    if (known !== undefined) return known;
    const found = [...this.#shared.values()].filter((shared) => matches(shared.filter, topic));
    if (this.#routes.size >= CACHED_TOPICS) this.#routes.clear();
    this.#routes.set(topic, found);
    return found;
  }

  async #establish(shared: Shared): Promise<void> {
    const request = this.#request;
    if (request === null) return;
    const attempt = ++shared.attempt;
    let failure: GatewayError | null = null;
    try {
      await request({ op: "subscribe", filter: shared.filter, ...shared.options });
    } catch (thrown) {
      failure = toGatewayError(thrown, "internal");
    }
    // The connection was lost meanwhile, or a later attempt is under way: that one decides.
    if (attempt !== shared.attempt || this.#shared.get(shared.filter) !== shared) return;
    if (failure === null) this.#confirm(shared);
    else this.#refuse(shared, failure);
  }

  #confirm(shared: Shared): void {
    shared.live = true;
    settle(shared, null);
    if (!shared.missed) return;
    shared.missed = false;
    this.tell({ reason: "reconnect", filter: shared.filter, dropped: null });
  }

  #refuse(shared: Shared, error: GatewayError): void {
    if (shared.live) {
      // Only new options were refused: those who asked for them are told, the others keep what they have.
      settle(shared, error);
    } else if (shared.missed && error.retryable) {
      setTimeout(() => this.#retry(shared, shared.attempt), RETRY_MILLISECONDS * (0.5 + Math.random()));
    } else {
      this.onError(error);
      this.#end(shared, error);
    }
  }

  #retry(shared: Shared, attempt: number): void {
    if (shared.attempt === attempt && this.#shared.get(shared.filter) === shared) void this.#establish(shared);
  }

  #end(shared: Shared, error: GatewayError | null): void {
    this.#forget(shared);
    settle(shared, error ?? new GatewayError("closed", "the client was closed"));
    for (const inbox of shared.inboxes) inbox.end(error);
  }

  #forget(shared: Shared): void {
    this.#shared.delete(shared.filter);
    this.#routes.clear();
  }
}

function newShared(filter: string): Shared {
  return {
    filter,
    inboxes: new Set(),
    waiters: new Set(),
    options: {},
    live: false,
    missed: false,
    attempt: 0,
  };
}

function settle(shared: Shared, error: GatewayError | null): void {
  for (const waiter of shared.waiters) {
    if (error === null) waiter.resolve();
    else waiter.reject(error);
  }
  shared.waiters.clear();
}
