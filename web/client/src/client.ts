import { toError } from "./connection.js";
import { type ConsumeOptions, Consumer } from "./consumer.js";
import type { Handler } from "./delivery.js";
import { Emitter } from "./emitter.js";
import { GatewayError, toGatewayError } from "./errors.js";
import { Inbox, type InboxOptions } from "./inbox.js";
import type { Request, WireOptions } from "./line.js";
import { type ClientOptions, Link } from "./link.js";
import { Memberships } from "./membership.js";
import { type WaitOptions, patiently } from "./patience.js";
import type { Beginning } from "./positions.js";
import { type DeleteOptions, type PublishOptions, type Receipt, deleteCommand, publishCommand } from "./publishing.js";
import { QueueWorker, type WorkOptions } from "./queue_worker.js";
import { Registry } from "./registry.js";
import type { ClientEvents, StateChange } from "./state.js";
import { Subscription } from "./subscription.js";
import { StateFeed, type StateOptions, TopicState } from "./topic_state.js";
import { type CommandFrame, type ServerFrame, present, toGap, toMessage } from "./wire.js";

/**
 * `from` and `resume` say where to begin in streams, `resume` in those that it names. `signal` ends the subscription
 * at any time, `timeout` bounds the wait for the gateway's word.
 */
export interface SubscribeOptions<Data = unknown> extends InboxOptions<Data>, WireOptions, Beginning, WaitOptions {}

/**
 * A connection to a Fanout Gateway that keeps itself up: it reconnects with growing, jittered waits, subscribes
 * everything again, and tells as a gap what may have been missed.
 */
export class Client extends Emitter<ClientEvents> {
  readonly #link: Link;
  readonly #registry: Registry;
  readonly #memberships: Memberships;

  /**
   * Nothing is connected yet. `url` is the gateway's base (`https://gateway.example`, or relative, such as `/`), or a
   * WebSocket address with a path, which is taken as it is.
   *
   * @throws TypeError `url` is no such address.
   */
  constructor(url: string, options: ClientOptions = {}) {
    super();
    this.#registry = new Registry(
      (gap) => this.emit("gap", gap),
      (error) => this.emit("error", error),
    );
    this.#memberships = new Memberships((error) => this.emit("error", error));
    const parts = [this.#registry, this.#memberships];
    this.#link = new Link(url, options, {
      state: (change) => this.emit("state", change),
      error: (error) => this.emit("error", error),
      attach: (connection) => {
        const request: Request = (command, onReply) => connection.request(command, onReply);
        for (const part of parts) part.attach(request);
      },
      detach: () => parts.forEach((part) => part.detach()),
      pushed: (frame) => this.#pushed(frame),
      ended: (error) => parts.forEach((part) => part.close(error)),
    });
  }

  /** Whether it is connected, with the circumstances, as the last `state` event told it. */
  get status(): StateChange {
    return this.#link.status;
  }

  /**
   * Connects, and resolves once that has succeeded. It goes on trying until `close`, also where the caller's `timeout`
   * (default 30 s) or `signal` has ended the wait before.
   *
   * @throws GatewayError `timeout`, with the last failure; another code where trying again would not help, or `close`
   *   was called meanwhile.
   * @throws TypeError a relative address, or no WebSocket, where there is no page.
   */
  async connect(options: WaitOptions = {}): Promise<void> {
    options.signal?.throwIfAborted();
    await this.#link.connect(options);
  }

  /** While waiting to reconnect: tries now. */
  retryNow(): void {
    this.#link.retryNow();
  }

  /**
   * Presents a token of the token function now, instead of when the old one's end comes near: rights have changed, or
   * somebody has entered another. It does so in band, so connection and subscriptions stay; the subject must too.
   * Resolves once the gateway has taken it. While the connection is away it tries now to reconnect, which takes a fresh
   * token anyway, and does not wait for that.
   *
   * @throws GatewayError `unauthenticated` or `token_expired`: the gateway doesn't take it, and the old one counts on;
   *   `forbidden`: it is another subject's; `timeout`, …
   * @throws TypeError the client was made without a token.
   */
  async renew(): Promise<void> {
    await this.#link.renew();
  }

  /** Ends the connection and every subscription, for good. */
  close(): void {
    this.#link.close();
  }

  /**
   * Subscribes to a topic filter and resolves once the gateway has confirmed it: no publication accepted later is
   * missed. Connects if that has not been done, and waits while the connection is away. Several callers may
   * subscribe to the same filter, each from where it wants; `overflow` is then that of the latest that gave one. Such
   * callers are asked for one after the other: one waits while another one reads its history.
   *
   * @throws GatewayError `bad_filter`, `forbidden`, `too_many`, `timeout`, …
   */
  async subscribe<Data = unknown>(filter: string, options: SubscribeOptions<Data> = {}): Promise<Subscription<Data>> {
    options.signal?.throwIfAborted();
    this.#link.start();
    if (this.#link.state === "closed") throw new GatewayError("closed", "the client was closed");
    const inbox = new Inbox(filter, options as InboxOptions, (gap) => this.emit("gap", gap));
    const abort = (): void => void this.#registry.remove(inbox).catch(() => undefined);
    try {
      const beginning = { ...present("from", options.from), ...present("resume", options.resume) };
      const confirmed = this.#registry.add(inbox, present("overflow", options.overflow), beginning);
      await patiently(confirmed, options, () => this.#link.describeWait(`no answer to subscribe '${filter}'`));
    } catch (error) {
      abort();
      throw error;
    }
    options.signal?.addEventListener("abort", abort, { once: true });
    return new Subscription<Data>(inbox, () => {
      options.signal?.removeEventListener("abort", abort);
      return this.#registry.remove(inbox);
    });
  }

  /**
   * The last messages of all topics that match, kept current; topics without last values begin empty. Connects if that
   * has not been done.
   *
   * Refusals reject `ready`.
   */
  state<Data = unknown>(filter: string, options: StateOptions = {}): TopicState<Data> {
    this.#link.start();
    const feed: StateFeed = new StateFeed(filter, options, {
      beginAnew: (recipient) => this.#registry.beginAnew(recipient),
      leave: (recipient) => this.#registry.remove(recipient),
    });
    if (this.#link.state === "closed") feed.end(new GatewayError("closed", "the client was closed"));
    else this.#registry.add(feed, {}, { from: "snapshot" }).catch((thrown) => feed.end(toGatewayError(thrown, "internal")));
    return new TopicState<Data>(filter, feed);
  }

  /**
   * Becomes a member of a consumer group, and gets what is to be worked off, each publication in the group's turn.
   * Connects if that has not been done. A client is a member of a group once: another `consume` of the same group
   * ends with `conflict`, unless the first was closed.
   *
   * Refusals reject `ready`, and end the loop: `forbidden`, `not_found`, `conflict`, …
   */
  consume<Data = unknown>(stream: string, options: ConsumeOptions): Consumer<Data> {
    this.#link.start();
    const membership = this.#memberships.join(stream, options);
    const leave = (): void => void membership.close().catch(() => undefined);
    if (this.#link.state === "closed") membership.end(new GatewayError("closed", "the client was closed"));
    else if (options.signal?.aborted === true) leave();
    else options.signal?.addEventListener("abort", leave, { once: true });
    return new Consumer(membership);
  }

  /**
   * Works a consumer group off: calls `handler` for each delivery, up to `concurrency` at a time, keeps its lease alive
   * meanwhile, acks what it has done and nacks where it throws, until `stop`.
   */
  work<Data = unknown>(stream: string, options: WorkOptions<Data>, handler: Handler<Data>): QueueWorker<Data> {
    const credit = options.credit ?? options.concurrency ?? 1;
    return new QueueWorker(this.consume<Data>(stream, { ...options, credit }), options, handler);
  }

  /**
   * Publishes a JSON value, or bytes, and resolves with the gateway's answer (`null` with `ack: false`).
   *
   * @throws GatewayError `unavailable` where there is no connection; `timeout` or `unavailable` also where nobody
   *   knows whether it was done: publish it again with the same `idempotencyKey`.
   */
  async publish(topic: string, data: unknown, options: PublishOptions & { ack: false }): Promise<null>;
  async publish(topic: string, data: unknown, options?: PublishOptions): Promise<Receipt>;
  async publish(topic: string, data: unknown, options: PublishOptions = {}): Promise<Receipt | null> {
    return this.#publish(publishCommand(topic, data, options), options);
  }

  /**
   * Publishes that a topic has no value any more; subscribers get a message that is `deleted`.
   *
   * @throws GatewayError as `publish`.
   */
  async delete(topic: string, options: DeleteOptions & { ack: false }): Promise<null>;
  async delete(topic: string, options?: DeleteOptions): Promise<Receipt>;
  async delete(topic: string, options: DeleteOptions = {}): Promise<Receipt | null> {
    return this.#publish(deleteCommand(topic, options), options);
  }

  async #publish(command: CommandFrame, options: DeleteOptions): Promise<Receipt | null> {
    const { connection } = this.#link;
    if (connection === null) throw new GatewayError("unavailable", "not connected");
    if (options.ack === false) {
      connection.send(command);
      return null;
    }
    const reply = await connection.request(command);
    return { id: String(reply["id"]), ...present("stream", reply["stream"]), ...present("offset", reply["offset"]) };
  }

  #pushed(frame: ServerFrame): void {
    switch (frame.op) {
      case "message": {
        const message = toMessage(frame);
        this.emit("message", message);
        this.#registry.deliver(message, typeof frame["filter"] === "string" ? frame["filter"] : null);
        return;
      }
      case "delivery":
        this.#memberships.deliver(frame);
        return;
      case "released":
        this.#memberships.released(frame);
        return;
      case "unsubscribed":
        this.#registry.ended(String(frame["filter"]));
        return;
      case "gap":
        this.#registry.tell(toGap(frame));
        return;
      case "caught_up":
        this.#registry.caughtUp(String(frame["filter"]));
        return;
      case "goaway":
        this.#goAway(frame);
        return;
      case "error":
        this.#refused(toError(frame));
    }
  }

  // A refusal that no command of this client is waiting for.
  #refused(error: GatewayError): void {
    if (error.code === "token_expired") this.#link.expired();
    else {
      this.#memberships.noteError(error);
      this.emit("error", error);
    }
  }

  #goAway(frame: ServerFrame): void {
    const retryAfter = typeof frame["retry_after"] === "number" ? frame["retry_after"] : 0;
    this.emit("goaway", { reason: String(frame["reason"]), retryAfter });
    this.#link.comeBack(retryAfter);
  }
}
