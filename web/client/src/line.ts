/**
 * One filter at the gateway, and all who share it.
 *
 * The gateway has one subscription per connection and filter; the same filter again replaces it. So those who begin
 * at different places are asked for one after the other. While one reads its history, the others that have all of that
 * already read along, and take what is behind their own places; those that have not wait, and go on from their places afterwards.
 * Nobody misses anything, nobody gets anything twice, and in the end all are live.
 */
import { GatewayError, toGatewayError } from "./errors.js";
import { type Beginning, type Positions, asksHistory } from "./positions.js";
import { type Recipient, Strand, together } from "./strand.js";
import { type CommandFrame, type Gap, type Message, type Overflow, type ServerFrame } from "./wire.js";

/** The connection as a line needs it: sends a command, resolves with its reply; `onReply` has it first. */
export type Request = (command: CommandFrame, onReply?: (reply: ServerFrame) => void) => Promise<ServerFrame>;

export interface WireOptions {
  readonly overflow?: Overflow;
}

/** What a line tells its registry. */
export interface LineEvents {
  gap(gap: Gap): void;
  error(error: GatewayError): void;
  /** Nobody is left. */
  over(line: Line): void;
}

const RETRY_MILLISECONDS = 2000;

export class Line {
  readonly #strands = new Set<Strand>();
  #options: WireOptions = {};
  /** Those that the gateway took last. */
  #taken: WireOptions = {};
  #request: Request | null = null;
  #attempt = 0;
  /** A `subscribe` awaits its answer, or what it asked for its `caught_up`. */
  #busy = false;
  /** Who was asked for by it. */
  #asked: readonly Strand[] = [];
  /** Its options changed: asked for once everybody is live. */
  #changed = false;

  constructor(
    readonly filter: string,
    private readonly events: LineEvents,
  ) {}

  get empty(): boolean {
    return this.#strands.size === 0;
  }

  /** The gateway has confirmed it on this connection. */
  get held(): boolean {
    return [...this.#strands].some(({ phase }) => phase !== "waiting");
  }

  /** Adds a recipient; resolves once the gateway has confirmed it, however many connections that takes. */
  add(recipient: Recipient, options: WireOptions, beginning: Beginning): Promise<void> {
    const strand = this.#strandFor(beginning);
    strand.recipients.add(recipient);
    const changed = options.overflow !== undefined && options.overflow !== this.#options.overflow;
    if (changed) this.#options = options;
    if (strand.phase === "waiting") {
      const confirmed = strand.confirmed();
      this.#next();
      return confirmed;
    }
    const { positions } = strand.received;
    recipient.begin(positions, { positions, recovered: null });
    if (!changed) return Promise.resolve();
    this.#changed = true;
    const confirmed = strand.confirmed();
    this.#next();
    return confirmed;
  }

  /** Takes a recipient out; returns whether it was here. */
  remove(recipient: Recipient): boolean {
    for (const strand of this.#strands) {
      if (!strand.recipients.delete(recipient)) continue;
      if (strand.recipients.size === 0) {
        this.#strands.delete(strand);
        strand.settle(new GatewayError("closed", "unsubscribed"));
      }
      return true;
    }
    return false;
  }

  /** Lets nothing more come for `recipient` until, after a while, it was asked for as the first time. */
  beginAnew(recipient: Recipient): void {
    const strand = [...this.#strands].find(({ recipients }) => recipients.has(recipient));
    if (strand === undefined || strand.phase === "waiting") return;
    strand.missed = true;
    strand.suspend();
    strand.forget();
    this.#hold(strand, strand.waitBeforeAnew());
  }

  attach(request: Request): void {
    this.#request = request;
    for (const strand of this.#strands) strand.held = false;
    this.#next();
  }

  detach(): void {
    this.#request = null;
    this.#attempt += 1;
    this.#busy = this.#changed = false;
    for (const strand of this.#strands) {
      strand.missed ||= strand.begun;
      strand.suspend();
    }
  }

  end(error: GatewayError | null): void {
    const closed = new GatewayError("closed", "the client was closed");
    for (const strand of this.#strands) strand.end(error, closed);
    this.#strands.clear();
  }

  /** A message with this filter's name: history, or on a live topic meanwhile. */
  deliverNamed(message: Message): void {
    for (const strand of this.#strands) {
      if (strand.wantsNamed(message, this.#parked(strand))) strand.offer(message);
    }
  }

  /** A message for every live subscription that matches; `only`: no other filter here does. */
  deliver(message: Message, only: boolean): void {
    for (const strand of this.#strands) {
      const wanted = strand.phase === "live" ? !strand.received.has(message) : only && strand.overtaken(message, this.#parked(strand));
      if (wanted) strand.offer(message);
    }
  }

  /** The gateway has given all history that was asked for. */
  caughtUp(): void {
    if (!this.#busy) return;
    this.#busy = false;
    for (const strand of this.#strands) {
      if (strand.phase !== "reading") continue;
      strand.phase = "live";
      const begun = strand.withinSnapshot ? strand.received.positions : undefined;
      strand.fresh = strand.withinSnapshot = false;
      if (!strand.history || !this.#asked.includes(strand)) continue;
      for (const recipient of strand.recipients) recipient.catchUp(begun);
    }
    this.#next();
  }

  /** Tells a gap that names this filter, or none. */
  tell(gap: Gap): void {
    for (const strand of this.#strands) {
      if (gap.filter === undefined) strand.tell(gap);
      else if (strand.isConcerned(gap, this.#asked.includes(strand))) {
        strand.received.passGap(gap);
        strand.tell(gap);
      }
    }
  }

  #strandFor(beginning: Beginning): Strand {
    const known = asksHistory(beginning) ? undefined : [...this.#strands].find(({ history }) => !history);
    const strand = known ?? new Strand(beginning);
    this.#strands.add(strand);
    return strand;
  }

  /** Whether others read what it can't use; it goes on behind its place once they have. */
  #parked(strand: Strand): boolean {
    return this.#busy && strand.begun && !strand.held && strand.phase === "waiting";
  }

  /** Asks for who comes next, if it is anybody's turn. */
  #next(): void {
    if (this.#request === null || this.#busy) return;
    const waiting = [...this.#strands].filter(({ phase, held }) => phase === "waiting" && !held);
    const begun = waiting.filter((strand) => strand.begun);
    if (begun.length > 0) {
      const { group, beginning } = together(begun);
      this.#ask(group, beginning);
      return;
    }
    const plain = waiting.find(({ history }) => !history);
    const live = [...this.#strands].find(({ phase }) => phase === "live");
    if (plain !== undefined && live !== undefined) {
      plain.received.beginAt(live.received.positions);
      plain.begin("live", null);
      plain.settle(null);
    }
    const first = plain !== undefined && live === undefined ? plain : waiting.find(({ history }) => history);
    if (first !== undefined) this.#ask([first], first.received.beginning);
    else if (this.#changed) this.#ask([], {});
  }

  #ask(group: readonly Strand[], beginning: Beginning): void {
    const request = this.#request;
    if (request === null) return;
    const attempt = ++this.#attempt;
    this.#busy = true;
    this.#asked = group;
    this.#changed = false;
    // The connection was lost meanwhile, or nobody is left: another attempt decides.
    const decides = (): boolean => attempt === this.#attempt && !this.empty;
    const options = this.#options;
    request({ op: "subscribe", filter: this.filter, ...beginning, ...options }, (reply) => {
      this.#taken = options;
      if (decides()) this.#confirm(group, beginning, reply);
    }).catch((thrown) => {
      const error = toGatewayError(thrown, "internal");
      // Refused for one, they would be refused for all the next time.
      if (!error.retryable && this.#options === options) this.#options = this.#taken;
      if (decides()) this.#refuse(group, error);
    });
  }

  #confirm(group: readonly Strand[], beginning: Beginning, reply: ServerFrame): void {
    this.#busy = asksHistory(beginning);
    const recovered = typeof reply["recovered"] === "boolean" ? reply["recovered"] : null;
    for (const strand of group) {
      strand.withinSnapshot = strand.received.beginsWithSnapshot(reply);
      const anew = !strand.begun || strand.withinSnapshot;
      if (anew) strand.received.begin(reply);
      else strand.received.goOn(reply);
      strand.fresh = anew && this.#busy;
      strand.begin(this.#busy ? "reading" : "live", recovered);
    }
    if (this.#busy) this.#readAlong(group, beginning, (reply["positions"] ?? {}) as Positions);
    for (const strand of this.#strands) if (strand.phase !== "waiting") strand.settle(null);
    this.#tellMissed(group, recovered === true);
    this.#next();
  }

  /** The others are where they are, of what is read now. */
  #readAlong(group: readonly Strand[], { from }: Beginning, positions: Positions): void {
    // The newest of each topic are no pages of the log: what lies between them does not come.
    const sparse = typeof from === "object" && "last_per_topic" in from;
    for (const strand of this.#strands) {
      if (strand.phase !== "live" || group.includes(strand)) continue;
      if (!sparse && strand.received.covers(positions)) strand.phase = "reading";
      else strand.suspend();
    }
  }

  #tellMissed(group: readonly Strand[], recovered: boolean): void {
    const missed = group.filter((strand) => strand.missed);
    for (const strand of missed) strand.missed = false;
    if (recovered || missed.length === 0) return;
    const gap: Gap = { reason: "reconnect", filter: this.filter, dropped: null };
    for (const strand of missed) strand.tell(gap);
    this.events.gap(gap);
  }

  #refuse(group: readonly Strand[], error: GatewayError): void {
    this.#busy = false;
    // Nobody knows which of the two subscriptions the gateway has now.
    if (error.code === "timeout") this.#suspendLive();
    if (group.length === 0) {
      // Only new options were refused: those who asked for them are told, the others keep what they have.
      for (const strand of this.#strands) if (strand.phase !== "waiting") strand.settle(error);
    }
    let told = false;
    for (const strand of group) {
      if ((strand.missed || strand.begun) && error.retryable) {
        this.#hold(strand, RETRY_MILLISECONDS * (0.5 + Math.random()));
      } else {
        if (!told) this.events.error(error);
        told = true;
        this.#strands.delete(strand);
        strand.end(error, error);
      }
    }
    if (this.empty) {
      // What is answered later would be sent for as long as the connection lasts, and nobody would hear it.
      if (error.code === "timeout") this.#request?.({ op: "unsubscribe", filter: this.filter }).catch(() => undefined);
      this.events.over(this);
    } else this.#next();
  }

  #suspendLive(): void {
    for (const strand of this.#strands) if (strand.phase === "live") strand.suspend();
  }

  #hold(strand: Strand, milliseconds: number): void {
    strand.held = true;
    setTimeout(() => {
      strand.held = false;
      this.#next(); // if others are being read for, it is its turn afterwards
    }, milliseconds);
  }
}
