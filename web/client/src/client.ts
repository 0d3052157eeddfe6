import { socketAddress } from "./address.js";
import { Backoff, type BackoffOptions } from "./backoff.js";
import {
  Connection,
  type Loss,
  type Timings,
  UNAUTHENTICATED,
  type WebSocketConstructor,
  toError,
} from "./connection.js";
import { type ConsumeOptions, Consumer } from "./consumer.js";
import { Credentials, type Token, WrongToken } from "./credentials.js";
import { Emitter } from "./emitter.js";
import { GatewayError, toGatewayError } from "./errors.js";
import { Inbox, type InboxOptions } from "./inbox.js";
import type { Handler } from "./delivery.js";
import type { Request, WireOptions } from "./line.js";
import { Memberships } from "./membership.js";
import type { Beginning } from "./positions.js";
import { type DeleteOptions, type PublishOptions, type Receipt, deleteCommand, publishCommand } from "./publishing.js";
import { Registry } from "./registry.js";
import { type SharedSocketOptions, sharedSocketClass } from "./shared_socket.js";
import type { ClientEvents, ClientState, StateChange } from "./state.js";
import { Subscription } from "./subscription.js";
import { StateFeed, type StateOptions, TopicState } from "./topic_state.js";
import { QueueWorker, type WorkOptions } from "./queue_worker.js";
import { watchPage } from "./page_events.js";
import { type WaitOptions, patiently } from "./patience.js";
import { type CommandFrame, type ServerFrame, present, toGap, toMessage } from "./wire.js";

export interface ClientOptions extends Partial<Timings> {
  /** A credential, or the function that gets a fresh one whenever it is needed. */
  readonly token?: Token;
  readonly backoff?: BackoffOptions;
  /** What a relative address is relative to. Default: the page, or the worker. */
  readonly base?: string;
  /** Has the socket in a worker, one for all tabs (docs/browser.md, "One socket for many tabs"). */
  readonly shared?: SharedSocketOptions;
  /** The WebSocket class where there is no global one: Node before 22 (the package `ws` has one). */
  readonly WebSocket?: WebSocketConstructor;
}

/**
 * `from` and `resume` say where to begin in streams, `resume` in those that it names. `signal` ends the subscription
 * at any time, `timeout` bounds the wait for the gateway's word.
 */
export interface SubscribeOptions<Data = unknown> extends InboxOptions<Data>, WireOptions, Beginning, WaitOptions {}

// docs/protocol.md, "Close codes": coming back with the same would end the same.
const FINAL_CODES: ReadonlySet<number> = new Set([4400, UNAUTHENTICATED, 4403, 4413]);

/**
 * A connection to a Fanout Gateway that keeps itself up: it reconnects with growing, jittered waits, subscribes
 * everything again, and tells as a gap what may have been missed.
 */
export class Client extends Emitter<ClientEvents> {
  readonly #url: string;
  readonly #options: ClientOptions;
  readonly #timings: Timings;
  readonly #backoff: Backoff;
  readonly #credentials: Credentials;
  readonly #registry: Registry;
  readonly #memberships: Memberships;
  #change: StateChange = { state: "idle", failures: 0, retryAt: null, error: null };
  #connection: Connection | null = null;
  #connectedAt = 0;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #notBefore = 0;
  #unwatchPage: (() => void) | undefined;
  #waiters: { resolve: () => void; reject: (error: GatewayError) => void }[] = [];

  /**
   * Nothing is connected yet. `url` is the gateway's base (`https://gateway.example`, or relative, such as `/`), or a
   * WebSocket address with a path, which is taken as it is.
   *
   * @throws TypeError `url` is no such address.
   */
  constructor(url: string, options: ClientOptions = {}) {
    super();
    socketAddress(url, options.base); // throws where it can be none, wherever that is
    this.#url = url;
    this.#options = options;
    this.#timings = {
      connectTimeout: options.connectTimeout ?? 10_000,
      commandTimeout: options.commandTimeout ?? 10_000,
      pingInterval: options.pingInterval ?? 25_000,
      pongTimeout: options.pongTimeout ?? 10_000,
    };
    this.#backoff = new Backoff(options.backoff);
    this.#credentials = new Credentials(options.token, this.#timings.connectTimeout);
    this.#registry = new Registry(
      (gap) => this.emit("gap", gap),
      (error) => this.emit("error", error),
    );
    this.#memberships = new Memberships((error) => this.emit("error", error));
  }

  /** Whether it is connected, with the circumstances, as the last `state` event told it. */
  get status(): StateChange {
    return this.#change;
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
    if (this.#state === "connected") return;
    if (this.#state === "closed") throw new GatewayError("closed", "the client was closed");
    const waiter = { resolve: (): void => undefined, reject: (_error: GatewayError): void => undefined };
    const connected = new Promise<void>((resolve, reject) => Object.assign(waiter, { resolve, reject }));
    this.#waiters.push(waiter);
    try {
      this.#start();
      await patiently(connected, options, () => this.#describeWait("no connection"));
    } finally {
      this.#waiters = this.#waiters.filter((each) => each !== waiter);
    }
  }

  /** While waiting to reconnect: tries now. */
  retryNow(): void {
    if (this.#change.retryAt === null) return;
    clearTimeout(this.#retryTimer);
    this.#moveTo(this.#state);
    void this.#open();
  }

  /** Ends the connection and every subscription, for good. */
  close(): void {
    if (this.#state !== "closed") this.#finish(null);
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
    this.#start();
    if (this.#state === "closed") throw new GatewayError("closed", "the client was closed");
    const inbox = new Inbox(filter, options as InboxOptions, (gap) => this.emit("gap", gap));
    const abort = (): void => void this.#registry.remove(inbox).catch(() => undefined);
    try {
      const beginning = { ...present("from", options.from), ...present("resume", options.resume) };
      const confirmed = this.#registry.add(inbox, present("overflow", options.overflow), beginning);
      await patiently(confirmed, options, () => this.#describeWait(`no answer to subscribe '${filter}'`));
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
    this.#start();
    const feed: StateFeed = new StateFeed(filter, options, {
      beginAnew: (recipient) => this.#registry.beginAnew(recipient),
      leave: (recipient) => this.#registry.remove(recipient),
    });
    if (this.#state === "closed") feed.end(new GatewayError("closed", "the client was closed"));
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
    this.#start();
    const membership = this.#memberships.join(stream, options);
    const leave = (): void => void membership.close().catch(() => undefined);
    if (this.#state === "closed") membership.end(new GatewayError("closed", "the client was closed"));
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

  get #state(): ClientState {
    return this.#change.state;
  }

  #start(): void {
    if (this.#state !== "idle") return;
    this.#socket(); // throws before anything is begun
    this.#unwatchPage = watchPage({
      awake: () => this.#lookAgain(),
      online: () => this.#lookAgain(),
      offline: () => this.#connection?.probe(),
    });
    this.#moveTo("connecting");
    void this.#open();
  }

  /** Where to connect, and with what. */
  #socket(): { address: string; socketClass: WebSocketConstructor } {
    const address = socketAddress(this.#url, this.#options.base);
    if (address === null) throw new TypeError(`'${this.#url}' is relative, and here is no page: give the option base`);
    const { shared, token } = this.#options;
    if (shared !== undefined) return { address, socketClass: sharedSocketClass(shared, token, this.#timings.connectTimeout) };
    const socketClass = this.#options.WebSocket ?? (globalThis.WebSocket as WebSocketConstructor | undefined);
    if (socketClass === undefined) throw new TypeError("no global WebSocket here: pass one as the option WebSocket");
    return { address, socketClass };
  }

  // The page was away: what it believes of its connection may be long over.
  #lookAgain(): void {
    if (this.#connection !== null) this.#connection.probe();
    else if (Date.now() >= this.#notBefore) this.retryNow();
  }

  #describeWait(what: string): string {
    const { error } = this.#change;
    return error === null ? `${what} in time` : `${what} in time: ${error.reason}`;
  }

  async #publish(command: CommandFrame, options: DeleteOptions): Promise<Receipt | null> {
    if (this.#connection === null || this.#state !== "connected") {
      throw new GatewayError("unavailable", "not connected");
    }
    if (options.ack === false) {
      this.#connection.send(command);
      return null;
    }
    const reply = await this.#connection.request(command);
    return { id: String(reply["id"]), ...present("stream", reply["stream"]), ...present("offset", reply["offset"]) };
  }

  async #open(): Promise<void> {
    let token: string | null;
    try {
      // The worker asks for it itself, where it needs one.
      token = this.#options.shared === undefined ? await this.#credentials.get() : null;
    } catch (thrown) {
      const error = toGatewayError(thrown, "unauthenticated");
      this.emit("error", error);
      if (this.#state === "closed") return;
      if (error instanceof WrongToken) this.#finish(error);
      else this.#waitToRetry(error);
      return;
    }
    if (this.#state === "closed") return;
    const { address, socketClass } = this.#socket();
    const connection: Connection = new Connection(address, socketClass, token, this.#timings, {
      ready: (_welcome, authenticated) => this.#ready(connection, authenticated),
      pushed: (frame) => this.#pushed(frame),
      lost: (loss) => this.#lost(loss),
    });
    this.#connection = connection;
  }

  #ready(connection: Connection, authenticated: ServerFrame | null): void {
    this.#connectedAt = Date.now();
    this.#notBefore = 0;
    this.#credentials.watch(authenticated?.["expires"], () => void this.#renew(connection));
    this.#moveTo("connected");
    if (this.#connection !== connection) return; // a listener closed the client
    for (const waiter of this.#waiters.splice(0)) waiter.resolve();
    const request: Request = (command, onReply) => connection.request(command, onReply);
    this.#registry.attach(request);
    this.#memberships.attach(request);
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
    if (error.code === "token_expired" && this.#connection !== null) void this.#renew(this.#connection);
    else {
      this.#memberships.noteError(error);
      this.emit("error", error);
    }
  }

  // The node drains. Come back when it says, and not in one wave with everybody else.
  #goAway(frame: ServerFrame): void {
    const retryAfter = typeof frame["retry_after"] === "number" ? frame["retry_after"] : 0;
    this.emit("goaway", { reason: String(frame["reason"]), retryAfter });
    const wait = retryAfter * (1 + Math.random() / 2);
    this.#notBefore = Date.now() + wait;
    const connection = this.#connection;
    setTimeout(() => connection?.close(1000, "going away"), wait);
  }

  async #renew(connection: Connection): Promise<void> {
    try {
      const token = await this.#credentials.get();
      if (token === null) return;
      const reply = await connection.request({ op: "auth", token });
      this.#credentials.watch(reply["expires"], () => void this.#renew(connection));
    } catch (thrown) {
      if (connection !== this.#connection) return;
      const error = toGatewayError(thrown, "unavailable");
      this.emit("error", error);
      // One that is refused would be again, and too many of them end the connection.
      if (error.retryable) this.#credentials.watchAgain(() => void this.#renew(connection));
    }
  }

  #lost(loss: Loss): void {
    if (this.#state === "closed") return;
    this.#connection = null;
    this.#credentials.forget();
    this.#registry.detach();
    this.#memberships.detach();
    const error = loss.error ?? new GatewayError("unavailable", describe(loss));
    const renewable = loss.code === UNAUTHENTICATED && this.#credentials.renewable;
    if (FINAL_CODES.has(loss.code) && !renewable) {
      this.#finish(error);
      return;
    }
    if (this.#connectedAt > 0 && Date.now() - this.#connectedAt >= this.#backoff.stableAfter) this.#backoff.reset();
    this.#waitToRetry(error);
  }

  #waitToRetry(error: GatewayError): void {
    const wait = Math.max(this.#backoff.next(), this.#notBefore - Date.now());
    this.#connectedAt = 0;
    this.#moveTo(this.#state === "connecting" ? "connecting" : "reconnecting", Date.now() + wait, error);
    this.#retryTimer = setTimeout(() => {
      this.#moveTo(this.#state, null, error);
      void this.#open();
    }, wait);
  }

  #finish(error: GatewayError | null): void {
    clearTimeout(this.#retryTimer);
    this.#unwatchPage?.();
    this.#credentials.forget();
    this.#moveTo("closed", null, error);
    const connection = this.#connection;
    this.#connection = null;
    connection?.close();
    this.#registry.close(error);
    this.#memberships.close(error);
    const reason = error ?? new GatewayError("closed", "the client was closed");
    for (const waiter of this.#waiters.splice(0)) waiter.reject(reason);
  }

  #moveTo(state: ClientState, retryAt: number | null = null, error: GatewayError | null = null): void {
    this.#change = { state, failures: this.#backoff.failures, retryAt, error };
    this.emit("state", this.#change);
  }
}

function describe(loss: Loss): string {
  const reason = loss.reason === "" ? "" : ` (${loss.reason})`;
  return `the connection ended with code ${loss.code}${reason}`;
}
