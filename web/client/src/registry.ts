/**
 * Which filters this client holds at the gateway, and who of the program shares each.
 *
 * The gateway sends a message once per connection, however many of its filters match, so the way from a message to
 * the callers that want it is found here. A filter is subscribed once on the wire, whatever number of callers asked.
 */
import { Backoff } from "./backoff.js";
import { GatewayError, toGatewayError } from "./errors.js";
import { type Beginning, type Position, type Positions, Received, asksHistory } from "./positions.js";
import { matches } from "./topics.js";
import type { CommandFrame, Gap, Message, Overflow, ServerFrame } from "./wire.js";

/** The connection as the registry needs it: sends a command, resolves with its reply; `onReply` has it first. */
export type Request = (command: CommandFrame, onReply?: (reply: ServerFrame) => void) => Promise<ServerFrame>;

/** Who takes what comes for a filter: a subscription's inbox, or a state's feed. */
export interface Recipient {
  readonly filter: string;
  /** What is offered from here on begins at `positions`; null: with a snapshot. */
  begin(positions: Positions | null): void;
  offer(message: Message, position: Position | null): void;
  /** All history was offered; with `begun`, what follows it begins there. */
  catchUp(begun?: Positions): void;
  tell(gap: Gap, position: Position | null): void;
  /** Nothing comes for now: the connection is gone, or it begins anew. */
  lose?(): void;
  /** Nothing more will come: `null` if that was asked for, otherwise why. */
  end(error: GatewayError | null): void;
}

export interface WireOptions {
  readonly overflow?: Overflow;
}

/** One filter at the gateway. `live`: the gateway has confirmed it on the present connection. */
interface Shared {
  readonly filter: string;
  readonly inboxes: Set<Recipient>;
  readonly waiters: Set<Waiter>;
  options: WireOptions;
  live: boolean;
  /** It was live on a connection that is gone: there is a gap to tell once it is live again. */
  missed: boolean;
  attempt: number;
  readonly received: Received;
  /** Its only caller began somewhere in history, where no other could join. */
  readonly alone: boolean;
  /** It gets history: only messages that name its filter are for it. */
  catchingUp: boolean;
  /** What was received of its last values is not all yet: behind it nothing can go on. */
  withinSnapshot: boolean;
  /** Its options changed meanwhile: asked for once it has caught up. */
  changed: boolean;
  /** The waits before it begins anew, and when it last did. */
  readonly backoff: Backoff;
  begunAnewAt: number;
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
  add(inbox: Recipient, options: WireOptions, beginning: Beginning = {}): Promise<void> {
    let shared = this.#shared.get(inbox.filter);
    const known = shared !== undefined;
    if (shared !== undefined && (shared.alone || asksHistory(beginning))) {
      const reason = `'${inbox.filter}' is subscribed to already, and history can't be shared`;
      return Promise.reject(new GatewayError("conflict", reason));
    }
    if (shared === undefined) {
      shared = newShared(inbox.filter, beginning);
      this.#shared.set(inbox.filter, shared);
      this.#routes.clear();
    }
    shared.inboxes.add(inbox);
    if (shared.live && known) inbox.begin(shared.received.positions);
    const changed = options.overflow !== undefined && options.overflow !== shared.options.overflow;
    if (changed) shared.options = options;
    if (known && shared.live && !changed) return Promise.resolve();
    const { waiters } = shared;
    const confirmed = new Promise<void>((resolve, reject) => waiters.add({ resolve, reject }));
    if (changed && shared.catchingUp) shared.changed = true; // asked for now, it would end the history
    else if (!known || changed) void this.#establish(shared);
    return confirmed;
  }

  /** Takes `inbox` out; the last of a filter unsubscribes it at the gateway. */
  async remove(inbox: Recipient): Promise<void> {
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

  /** Lets nothing more come for `inbox` until, after a while, its filter was asked for as the first time. */
  beginAnew(inbox: Recipient): void {
    const shared = this.#shared.get(inbox.filter);
    if (shared?.live !== true || !shared.inboxes.has(inbox)) return;
    shared.missed = true;
    this.#suspend(shared);
    shared.received.forget();
    const now = Date.now();
    if (now - shared.begunAnewAt >= shared.backoff.stableAfter) shared.backoff.reset();
    shared.begunAnewAt = now;
    const { attempt } = shared;
    setTimeout(() => this.#retry(shared, attempt), shared.backoff.next());
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
      if (shared.withinSnapshot) shared.received.forget();
      this.#suspend(shared);
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
      if (shared?.live !== true) continue;
      if (filter === null && (shared.catchingUp || shared.received.has(message))) continue;
      const position = shared.received.pass(message);
      for (const inbox of shared.inboxes) inbox.offer(message, shared.withinSnapshot ? null : position);
    }
  }

  /** The gateway has given all of a filter's history. */
  caughtUp(filter: string): void {
    const shared = this.#shared.get(filter);
    if (shared?.live !== true) return;
    shared.catchingUp = false;
    const begun = shared.withinSnapshot ? shared.received.positions : undefined;
    shared.withinSnapshot = false;
    if (shared.alone) for (const inbox of shared.inboxes) inbox.catchUp(begun);
    if (!shared.changed) return;
    shared.changed = false;
    void this.#establish(shared);
  }

  /** Tells a gap to the filter that it names, or to all. */
  tell(gap: Gap): void {
    const targets = gap.filter === undefined ? this.#shared.values() : [this.#shared.get(gap.filter)];
    for (const shared of targets) {
      if (gap.filter !== undefined) shared?.received.passGap(gap);
      const told = gap.stream !== undefined && shared?.withinSnapshot !== true;
      const position = told ? (shared?.received.at(gap.stream) ?? null) : null;
      for (const inbox of shared?.inboxes ?? []) inbox.tell(gap, position);
    }
    this.onGap(gap);
  }

  /** Nothing that comes is for it until it is confirmed anew, and no answer on its way decides. */
  #suspend(shared: Shared): void {
    shared.live = shared.catchingUp = shared.changed = shared.withinSnapshot = false;
    shared.attempt += 1;
    for (const inbox of shared.inboxes) inbox.lose?.();
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
    // Once it is live only its options can change: it goes on where it is.
    const beginning = shared.live ? {} : shared.received.beginning;
    if (!shared.live) shared.catchingUp = asksHistory(beginning);
    const command = { op: "subscribe", filter: shared.filter, ...beginning, ...shared.options };
    // The connection was lost meanwhile, or a later attempt is under way: that one decides.
    const decides = (): boolean => attempt === shared.attempt && this.#shared.get(shared.filter) === shared;
    try {
      await request(command, (reply) => {
        if (decides()) this.#confirm(shared, reply);
      });
    } catch (thrown) {
      if (decides()) this.#refuse(shared, toGatewayError(thrown, "internal"));
    }
  }

  #confirm(shared: Shared, reply: ServerFrame): void {
    if (!shared.live) {
      shared.live = true;
      shared.withinSnapshot = shared.received.beginsWithSnapshot(reply);
      shared.received.begin(reply);
      // A program that keeps positions must not go on behind values that it has never had.
      const positions = shared.withinSnapshot ? null : shared.received.positions;
      for (const inbox of shared.inboxes) inbox.begin(positions);
    }
    settle(shared, null);
    if (!shared.missed) return;
    shared.missed = false;
    if (reply["recovered"] === true) return;
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

function newShared(filter: string, beginning: Beginning): Shared {
  return {
    filter,
    inboxes: new Set(),
    waiters: new Set(),
    options: {},
    live: false,
    missed: false,
    attempt: 0,
    received: new Received(beginning),
    alone: asksHistory(beginning),
    catchingUp: false,
    withinSnapshot: false,
    changed: false,
    // A new epoch is told to all clients in one moment; their snapshots are not asked for in one.
    backoff: new Backoff({ initial: 1000 }),
    begunAnewAt: 0,
  };
}

function settle(shared: Shared, error: GatewayError | null): void {
  for (const waiter of shared.waiters) {
    if (error === null) waiter.resolve();
    else waiter.reject(error);
  }
  shared.waiters.clear();
}
