import { Backoff } from "./backoff.js";
import type { GatewayError } from "./errors.js";
import { type Beginning, type Position, type Positions, Received, asksHistory } from "./positions.js";
import { type Gap, type Message, present } from "./wire.js";

/** Who takes what comes for a filter: a subscription's inbox, or a state's feed. */
export interface Recipient {
  readonly filter: string;
  /** What is offered from here on begins at `positions`; null: with a snapshot. `answer` is the gateway's. */
  begin(positions: Positions | null, answer: Answered): void;
  offer(message: Message, position: Position | null): void;
  /** All history was offered; with `begun`, what follows it begins there. */
  catchUp(begun?: Positions): void;
  tell(gap: Gap, position: Position | null): void;
  /** Nothing comes for now: the connection is gone, or it begins anew. */
  lose?(): void;
  /** Nothing more will come: `null` if that was asked for, otherwise why. */
  end(error: GatewayError | null): void;
}

/** What the gateway, or one who was there before, has answered to a `subscribe`. */
export interface Answered {
  readonly positions: Positions;
  readonly recovered: boolean | null;
}

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: GatewayError) => void;
}

/**
 * Callers of one filter that are at one place of its streams: all who asked for nothing but what is new, or one who
 * began somewhere in history.
 *
 * `waiting`: for the connection, or for its turn to be asked for. `reading`: what comes with its filter's name is for
 * it, up to `caught_up`. `live`: what comes without a name is.
 */
export class Strand {
  readonly recipients = new Set<Recipient>();
  readonly received: Received;
  readonly history: boolean;
  phase: "waiting" | "reading" | "live" = "waiting";
  /** The gateway has confirmed it, on this connection or an earlier one: it goes on behind what it has received. */
  begun = false;
  /** What it reads begins where it asked; what others asked for, or it shares with them, it may have had. */
  fresh = false;
  /** It was live on a connection that is gone: there is a gap to tell once it is live again. */
  missed = false;
  /** What was received of its last values is not all yet: behind it nothing can go on. */
  withinSnapshot = false;
  /** It is asked for again after a while, not now. */
  held = false;
  readonly #waiters = new Set<Waiter>();
  // A new epoch is told to all clients in one moment; their snapshots are not asked for in one.
  readonly #backoff = new Backoff({ initial: 1000 });
  #begunAnewAt = 0;

  constructor(beginning: Beginning) {
    this.received = new Received(beginning);
    this.history = asksHistory(beginning);
  }

  /** Resolves once the gateway has confirmed it, however many connections that takes. */
  confirmed(): Promise<void> {
    return new Promise((resolve, reject) => this.#waiters.add({ resolve, reject }));
  }

  settle(error: GatewayError | null): void {
    for (const waiter of this.#waiters) {
      if (error === null) waiter.resolve();
      else waiter.reject(error);
    }
    this.#waiters.clear();
  }

  offer(message: Message): void {
    const position = this.received.pass(message);
    for (const recipient of this.recipients) recipient.offer(message, this.withinSnapshot ? null : position);
  }

  tell(gap: Gap): void {
    const told = gap.stream !== undefined && !this.withinSnapshot;
    const position = told ? this.received.at(gap.stream) : null;
    for (const recipient of this.recipients) recipient.tell(gap, position);
  }

  /** Whether it wants a message with its filter's name; `parked`: others read what it can't use. */
  wantsNamed(message: Message, parked: boolean): boolean {
    if (message.snapshot === true) return this.fresh;
    if (message.stream === undefined) return this.phase !== "waiting" || parked;
    return this.phase !== "waiting" && (this.fresh || !this.received.has(message));
  }

  /** Replies overtake messages: whether one on a live topic is from before the subscription was replaced. */
  overtaken(message: Message, parked: boolean): boolean {
    if (message.stream !== undefined) return false;
    return (this.phase === "reading" && !this.fresh) || parked;
  }

  /** Whether a gap in what comes for its filter is one for it, too; `asked`: what is read is what it asked for. */
  isConcerned({ reason, stream, to }: Gap, asked: boolean): boolean {
    if (!this.begun) return false;
    if (reason === "overflow" || stream === undefined) return true;
    if (this.phase === "waiting") return false;
    // Something is gone that was given already: it concerns whoever shows what there is now.
    if (reason === "purged" && to === undefined) return this.received.from === "snapshot";
    if (this.fresh || to === undefined) return true;
    // The answer has moved who was asked for behind the gap already.
    const beyond = asked ? to + 1 : to;
    return (this.received.at(stream)?.offset ?? -1) < beyond;
  }

  /** What comes from here on begins as `received` says. */
  begin(phase: "reading" | "live", recovered: boolean | null): void {
    this.phase = phase;
    this.begun = true;
    // A program that keeps positions must not go on behind values that it has never had.
    const { positions } = this.received;
    for (const recipient of this.recipients) {
      recipient.begin(this.withinSnapshot ? null : positions, { positions, recovered });
    }
  }

  /** Nothing that comes is for it until it is confirmed anew. */
  suspend(): void {
    if (this.withinSnapshot) this.forget();
    this.phase = "waiting";
    this.fresh = this.withinSnapshot = false;
    for (const recipient of this.recipients) recipient.lose?.();
  }

  /** It has no place to go on from: asked for as the first time. */
  forget(): void {
    this.received.forget();
    this.begun = false;
  }

  /** How long to wait before it begins anew, in milliseconds: longer each time, unless the last is long ago. */
  waitBeforeAnew(): number {
    const now = Date.now();
    if (now - this.#begunAnewAt >= this.#backoff.stableAfter) this.#backoff.reset();
    this.#begunAnewAt = now;
    return this.#backoff.next();
  }

  end(error: GatewayError | null, told: GatewayError): void {
    this.settle(error ?? told);
    for (const recipient of this.recipients) recipient.end(error);
  }
}

/** Those that can go on with one `subscribe`: behind the least of their places. */
export function together(begun: readonly Strand[]): { group: readonly Strand[]; beginning: Beginning } {
  const first = begun[0] as Strand;
  const snapshot = (strand: Strand): boolean => strand.received.from === "snapshot";
  if (begun.length === 1 || snapshot(first)) return { group: [first], beginning: first.received.beginning };
  const least = new Map(Object.entries(first.received.positions));
  const group = begun.filter((strand) => {
    if (snapshot(strand)) return false;
    const own = Object.entries(strand.received.positions);
    if (own.some(([stream, { epoch }]) => (least.get(stream)?.epoch ?? epoch) !== epoch)) return false;
    for (const [stream, position] of own) {
      if (position.offset < (least.get(stream)?.offset ?? Infinity)) least.set(stream, position);
    }
    return true;
  });
  const resume = least.size > 0 ? Object.fromEntries(least) : undefined;
  const earliest = group.some(({ received }) => received.from === "earliest") ? "earliest" : undefined;
  return { group, beginning: { ...present("from", earliest), ...present("resume", resume) } };
}
