/** The groups that a client is a member of, over all its connections. */
import { Answers } from "./answers.js";
import type { ConsumeOptions } from "./consumer.js";
import { Delivery } from "./delivery.js";
import { GatewayError, toGatewayError } from "./errors.js";
import { LeaseKeeper } from "./lease_keeper.js";
import type { Request } from "./line.js";
import { type ServerFrame, present, toLease, toMessage } from "./wire.js";

const RETRY_MILLISECONDS = 2000;
/** Refusals that say nothing of what was asked for. */
const REFUSED_FOR_NOW: ReadonlySet<string> = new Set(["rate_limited", "token_expired"]);

interface Reader {
  readonly resolve: (result: IteratorResult<Delivery, undefined>) => void;
  readonly reject: (error: GatewayError) => void;
}

/** One membership: joins with every connection, and holds what was delivered and not yet taken. */
export class Membership {
  readonly ready: Promise<void>;
  readonly group: string;
  error: GatewayError | null = null;
  readonly #answers = new Answers();
  readonly #keeper = new LeaseKeeper();
  readonly #waiting: Delivery[] = [];
  readonly #readers: Reader[] = [];
  readonly #filter: string | undefined;
  #credit: number | undefined;
  #request: Request | null = null;
  /** The gateway was asked on this connection, and has not refused: it is a member, or will be. */
  #asked = false;
  #attempt = 0;
  /** Settled once the gateway has answered a `consume`, or can't any more. */
  #joining: Promise<void> = Promise.resolve();
  #ending: Promise<void> | null = null;
  #resolve: () => void = () => undefined;
  #reject: (error: GatewayError) => void = () => undefined;

  constructor(
    readonly stream: string,
    { group, credit, filter }: ConsumeOptions,
    private readonly onError: (error: GatewayError) => void,
    /** `left`: the gateway does not take this client for a member any more. */
    private readonly onEnd: (left: boolean) => void,
  ) {
    this.group = group;
    this.#credit = checked(credit);
    this.#filter = filter;
    this.ready = new Promise<void>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.ready.catch(() => undefined); // who doesn't ask hears of it from the loop
  }

  get buffered(): number {
    return this.#waiting.length;
  }

  get ended(): boolean {
    return this.#ending !== null;
  }

  attach(request: Request): void {
    this.#request = request;
    this.#answers.attach(request);
    // Others may have what is being worked on: better known now than at the next round.
    this.#keeper.renewNow();
    this.#joining = this.#join();
  }

  /** The connection is gone: what nobody has taken yet goes to others, so it is not handed out here. */
  detach(): void {
    this.#request = null;
    this.#asked = false;
    this.#attempt += 1;
    this.#answers.detach();
    for (const delivery of this.#waiting.splice(0)) this.#keeper.letGo(delivery);
  }

  deliver(frame: ServerFrame): void {
    if (!this.#asked || this.ended) return;
    const delivery = new Delivery(toMessage(frame), toLease(frame), this.#answers, this.#keeper);
    const reader = this.#readers.shift();
    if (reader !== undefined) {
      reader.resolve({ done: false, value: delivery });
      return;
    }
    this.#waiting.push(delivery);
    // One that is lost while it waits must not be begun.
    this.#keeper.keep(delivery, () => {
      const place = this.#waiting.indexOf(delivery);
      if (place >= 0) this.#waiting.splice(place, 1);
    });
  }

  take(): Promise<IteratorResult<Delivery, undefined>> {
    const delivery = this.#waiting.shift();
    if (delivery !== undefined) {
      this.#keeper.letGo(delivery);
      return Promise.resolve({ done: false, value: delivery });
    }
    if (!this.ended) return new Promise((resolve, reject) => this.#readers.push({ resolve, reject }));
    return this.error === null ? Promise.resolve({ done: true, value: undefined }) : Promise.reject(this.error);
  }

  async setCredit(credit: number): Promise<void> {
    this.#credit = checked(credit);
    if (this.#asked) await this.#request?.(this.#command());
  }

  /** Leaves the group; what was answered before is told first. */
  close(): Promise<void> {
    this.#ending ??= this.#leave();
    return this.#ending;
  }

  /** The gateway, or the client's end, has ended it. */
  end(error: GatewayError | null): void {
    if (this.ended) return;
    this.error = error;
    this.#ending = Promise.resolve();
    this.#finish(error);
  }

  async #leave(): Promise<void> {
    for (const delivery of this.#waiting.splice(0)) this.#keeper.letGo(delivery);
    this.#finishReaders(null);
    await this.#answers.settled();
    // One that is left before the gateway has answered would stay a member for whom nobody works.
    await this.#joining;
    let left = true;
    try {
      if (this.#asked) await this.#request?.({ op: "release", stream: this.stream, group: this.group });
    } catch (thrown) {
      const error = toGatewayError(thrown, "internal");
      left = !REFUSED_FOR_NOW.has(error.code);
      // Without a connection, or where it was no member any more, there is nothing to give back; and what was asked
      // on a connection that only stalls is done with it, or with its end.
      if (left && !["unavailable", "not_found", "closed", "timeout"].includes(error.code)) throw error;
    } finally {
      this.#finish(null, left);
    }
  }

  #finish(error: GatewayError | null, left = true): void {
    this.#asked = false;
    this.#attempt += 1;
    this.#waiting.length = 0;
    this.#keeper.letAllGo();
    this.#answers.close(error ?? new GatewayError("closed", "the group was left before the gateway had answered"));
    this.#reject(error ?? new GatewayError("closed", "the consumer was closed"));
    this.#finishReaders(error);
    this.onEnd(left);
  }

  #finishReaders(error: GatewayError | null): void {
    for (const { resolve, reject } of this.#readers.splice(0)) {
      if (error === null) resolve({ done: true, value: undefined });
      else reject(error);
    }
  }

  #command() {
    const { stream, group } = this;
    return { op: "consume", stream, group, ...present("credit", this.#credit), ...present("filter", this.#filter) };
  }

  async #join(): Promise<void> {
    const request = this.#request;
    if (request === null || this.ended) return;
    const attempt = ++this.#attempt;
    const before = this.#asked;
    this.#asked = true;
    try {
      await request(this.#command());
      this.#resolve();
    } catch (thrown) {
      const error = toGatewayError(thrown, "internal");
      if (attempt !== this.#attempt) return;
      // An answer that is only late makes it a member all the same, and deliveries come behind it.
      if (error.code !== "timeout") this.#asked = before;
      this.#refused(attempt, error);
    }
  }

  #refused(attempt: number, error: GatewayError): void {
    this.onError(error);
    if (!error.retryable && error.code !== "token_expired") {
      this.end(error);
      return;
    }
    const again = (): void => {
      if (attempt === this.#attempt) this.#joining = this.#join();
    };
    setTimeout(again, RETRY_MILLISECONDS * (0.5 + Math.random()));
  }
}

/** All memberships of a client, found by stream and group: a connection is a member of a group once. */
export class Memberships {
  readonly #members = new Map<string, Membership>();
  /** Groups that are being left for which the gateway still delivers, and nobody works. */
  readonly #leaving = new Set<string>();
  #request: Request | null = null;
  #lastError: GatewayError | null = null;
  #closed = false;

  constructor(private readonly onError: (error: GatewayError) => void) {}

  /** Joins a group, after a former membership has left it; one that has not ends the new one with `conflict`. */
  join(stream: string, options: ConsumeOptions): Membership {
    const key = keyOf(stream, options.group);
    const known = this.#members.get(key);
    const membership: Membership = new Membership(stream, options, this.onError, (left) => {
      if (this.#members.get(key) === membership) this.#members.delete(key);
      if (!left) this.#leaveAgain(stream, options.group);
    });
    if (known === undefined) this.#add(key, membership);
    else if (known.ended) void known.close().catch(() => undefined).then(() => this.#follow(key, membership));
    else membership.end(conflict(stream, options.group));
    return membership;
  }

  attach(request: Request): void {
    this.#request = request;
    for (const membership of this.#members.values()) membership.attach(request);
  }

  detach(): void {
    this.#request = null;
    this.#leaving.clear();
    for (const membership of this.#members.values()) membership.detach();
  }

  close(error: GatewayError | null): void {
    this.#closed = true;
    this.detach();
    for (const membership of [...this.#members.values()]) membership.end(error);
  }

  deliver(frame: ServerFrame): void {
    const membership = this.#members.get(keyOf(frame["stream"], frame["group"]));
    if (membership === undefined) this.#leaveAgain(String(frame["stream"]), String(frame["group"]));
    else membership.deliver(frame);
  }

  /** An error that names no command: a `released` that follows tells what it has ended. */
  noteError(error: GatewayError): void {
    this.#lastError = error;
  }

  /** The gateway has ended a membership: the group is no more, or a new credential doesn't cover it. */
  released(frame: ServerFrame): void {
    const error = this.#lastError ?? new GatewayError("not_found", "the gateway has ended the membership");
    this.#members.get(keyOf(frame["stream"], frame["group"]))?.end(error);
  }

  /** Leaves a group that nobody here consumes from: its deliveries would wait for their leases to run out. */
  #leaveAgain(stream: string, group: string): void {
    const key = keyOf(stream, group);
    const request = this.#request;
    if (request === null || this.#leaving.has(key)) return;
    this.#leaving.add(key);
    request({ op: "release", stream, group })
      .then(
        () => false,
        (thrown) => REFUSED_FOR_NOW.has(toGatewayError(thrown, "internal").code),
      )
      .then((refused) => {
        if (request !== this.#request) return;
        if (!refused) {
          this.#leaving.delete(key);
          return;
        }
        setTimeout(() => {
          if (request !== this.#request) return;
          this.#leaving.delete(key);
          if (!this.#members.has(key)) this.#leaveAgain(stream, group);
        }, RETRY_MILLISECONDS);
      });
  }

  #follow(key: string, membership: Membership): void {
    if (membership.ended) return;
    if (this.#closed) membership.end(new GatewayError("closed", "the client was closed"));
    else if (this.#members.has(key)) membership.end(conflict(membership.stream, membership.group));
    else this.#add(key, membership);
  }

  #add(key: string, membership: Membership): void {
    this.#members.set(key, membership);
    if (this.#request !== null) membership.attach(this.#request);
  }
}

function keyOf(stream: unknown, group: unknown): string {
  return `${String(stream)}/${String(group)}`;
}

function conflict(stream: string, group: string): GatewayError {
  return new GatewayError("conflict", `this client consumes from '${stream}/${group}' already`);
}

function checked(credit: number | undefined): number | undefined {
  if (credit !== undefined && !(Number.isInteger(credit) && credit >= 1)) throw new RangeError("credit is at least 1");
  return credit;
}
