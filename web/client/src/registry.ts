/**
 * Which filters this client holds at the gateway, and who of the program shares each.
 *
 * The gateway sends a message once per connection, however many of its filters match, so the way from a message to
 * the callers that want it is found here.
 */
import { GatewayError, toGatewayError } from "./errors.js";
import { Line, type LineEvents, type Request, type WireOptions } from "./line.js";
import type { Beginning } from "./positions.js";
import type { Recipient } from "./strand.js";
import { matches } from "./topics.js";
import type { Gap, Message } from "./wire.js";

const CACHED_TOPICS = 1024;

export class Registry {
  readonly #lines = new Map<string, Line>();
  readonly #routes = new Map<string, readonly Line[]>();
  readonly #events: LineEvents;
  #request: Request | null = null;

  constructor(
    private readonly onGap: (gap: Gap) => void,
    onError: (error: GatewayError) => void,
  ) {
    this.#events = { gap: onGap, error: onError, over: (line) => this.#forget(line) };
  }

  /** Adds a recipient to its filter; resolves once the gateway has confirmed it, however many connections that takes. */
  add(recipient: Recipient, options: WireOptions, beginning: Beginning = {}): Promise<void> {
    let line = this.#lines.get(recipient.filter);
    if (line === undefined) {
      line = new Line(recipient.filter, this.#events);
      this.#lines.set(recipient.filter, line);
      this.#routes.clear();
      if (this.#request !== null) line.attach(this.#request);
    }
    return line.add(recipient, options, beginning);
  }

  /** Takes a recipient out; the last of a filter unsubscribes it at the gateway. */
  async remove(recipient: Recipient): Promise<void> {
    recipient.end(null);
    const line = this.#lines.get(recipient.filter);
    if (line === undefined || !line.remove(recipient) || !line.empty) return;
    this.#forget(line);
    try {
      await this.#request?.({ op: "unsubscribe", filter: recipient.filter });
    } catch (thrown) {
      // Without a connection, or where the gateway had refused the filter, there is nothing left to undo.
      const error = toGatewayError(thrown, "internal");
      if (!["unavailable", "not_found", "closed"].includes(error.code)) throw error;
    }
  }

  /** Lets nothing more come for `recipient` until, after a while, its filter was asked for as the first time. */
  beginAnew(recipient: Recipient): void {
    this.#lines.get(recipient.filter)?.beginAnew(recipient);
  }

  /** A connection is ready: subscribes every filter on it. */
  attach(request: Request): void {
    this.#request = request;
    for (const line of this.#lines.values()) line.attach(request);
  }

  /** The connection is gone. */
  detach(): void {
    this.#request = null;
    for (const line of this.#lines.values()) line.detach();
  }

  /** Ends everything: `null` if the program asked for it. */
  close(error: GatewayError | null): void {
    this.detach();
    for (const line of [...this.#lines.values()]) {
      this.#forget(line);
      line.end(error);
    }
  }

  /** Hands a message to those who want it; one with `filter` is for that filter alone. */
  deliver(message: Message, filter: string | null): void {
    if (filter !== null) {
      this.#lines.get(filter)?.deliverNamed(message);
      return;
    }
    const lines = this.#route(message.topic);
    for (const line of lines) line.deliver(message, lines.length === 1);
  }

  /** The gateway has given all of a filter's history. */
  caughtUp(filter: string): void {
    this.#lines.get(filter)?.caughtUp();
  }

  /** The gateway has ended a filter's subscription, which nobody here had asked for. */
  ended(filter: string): void {
    const line = this.#lines.get(filter);
    if (line === undefined || !line.held) return;
    this.#forget(line);
    line.end(new GatewayError("forbidden", `the gateway has ended the subscription to '${filter}'`));
  }

  /** Tells a gap to the filter that it names, or to all. */
  tell(gap: Gap): void {
    const lines = gap.filter === undefined ? [...this.#lines.values()] : [this.#lines.get(gap.filter)];
    for (const line of lines) line?.tell(gap);
    this.onGap(gap);
  }

  #route(topic: string): readonly Line[] {
    const known = this.#routes.get(topic);
    if (known !== undefined) return known;
    const found = [...this.#lines.values()].filter((line) => matches(line.filter, topic));
    if (this.#routes.size >= CACHED_TOPICS) this.#routes.clear();
    this.#routes.set(topic, found);
    return found;
  }

  #forget(line: Line): void {
    if (this.#lines.get(line.filter) === line) this.#lines.delete(line.filter);
    this.#routes.clear();
  }
}
