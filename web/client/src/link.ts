/** The client's connection, kept up: it comes back with growing, jittered waits, renews its token, and ends for good. */
import { socketAddress } from "./address.js";
import { Backoff, type BackoffOptions } from "./backoff.js";
import { Connection, type Loss, type Timings, UNAUTHENTICATED, type WebSocketConstructor } from "./connection.js";
import { Credentials, type Token, WrongToken } from "./credentials.js";
import { GatewayError, toGatewayError } from "./errors.js";
import { watchPage } from "./page_events.js";
import { type WaitOptions, patiently } from "./patience.js";
import { type SharedSocketOptions, sharedSocketClass } from "./shared_socket.js";
import type { ClientState, StateChange } from "./state.js";
import type { ServerFrame } from "./wire.js";

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

/** What a link tells its client. */
export interface LinkEvents {
  state(change: StateChange): void;
  /** A token could not be had, or was refused. */
  error(error: GatewayError): void;
  /** A connection stands: what the client holds is asked for on it. */
  attach(connection: Connection): void;
  /** It is gone. */
  detach(): void;
  pushed(frame: ServerFrame): void;
  /** For good: `null` if the program asked for it. */
  ended(error: GatewayError | null): void;
}

// docs/protocol.md, "Close codes": coming back with the same would end the same.
const FINAL_CODES: ReadonlySet<number> = new Set([4400, UNAUTHENTICATED, 4403, 4413]);

export class Link {
  readonly #timings: Timings;
  readonly #backoff: Backoff;
  readonly #credentials: Credentials;
  #change: StateChange = { state: "idle", failures: 0, retryAt: null, error: null };
  #connection: Connection | null = null;
  #connectedAt = 0;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #notBefore = 0;
  #unwatchPage: (() => void) | undefined;
  #waiters: { resolve: () => void; reject: (error: GatewayError) => void }[] = [];

  /** @throws TypeError `url` is no address of a gateway. */
  constructor(
    private readonly url: string,
    private readonly options: ClientOptions,
    private readonly events: LinkEvents,
  ) {
    socketAddress(url, options.base); // throws where it can be none, wherever that is
    this.#timings = {
      connectTimeout: options.connectTimeout ?? 10_000,
      commandTimeout: options.commandTimeout ?? 10_000,
      pingInterval: options.pingInterval ?? 25_000,
      pongTimeout: options.pongTimeout ?? 10_000,
    };
    this.#backoff = new Backoff(options.backoff);
    this.#credentials = new Credentials(options.token, this.#timings.connectTimeout);
  }

  /** The last that `state` was told. */
  get status(): StateChange {
    return this.#change;
  }

  get state(): ClientState {
    return this.#change.state;
  }

  /** The connection that stands; null without one. */
  get connection(): Connection | null {
    return this.state === "connected" ? this.#connection : null;
  }

  /** Resolves once it is connected, see `Client.connect`. */
  async connect(options: WaitOptions): Promise<void> {
    if (this.state === "connected") return;
    if (this.state === "closed") throw new GatewayError("closed", "the client was closed");
    const waiter = { resolve: (): void => undefined, reject: (_error: GatewayError): void => undefined };
    const connected = new Promise<void>((resolve, reject) => Object.assign(waiter, { resolve, reject }));
    this.#waiters.push(waiter);
    try {
      this.start();
      await patiently(connected, options, () => this.describeWait("no connection"));
    } finally {
      this.#waiters = this.#waiters.filter((each) => each !== waiter);
    }
  }

  /** Begins to connect, unless that was done. */
  start(): void {
    if (this.state !== "idle") return;
    this.#socket(); // throws before anything is begun
    this.#unwatchPage = watchPage({
      awake: () => this.#lookAgain(),
      online: () => this.#lookAgain(),
      offline: () => this.#connection?.probe(),
    });
    this.#moveTo("connecting");
    void this.#open();
  }

  /** While waiting to reconnect: tries now. */
  retryNow(): void {
    if (this.#change.retryAt === null) return;
    clearTimeout(this.#retryTimer);
    this.#moveTo(this.state);
    void this.#open();
  }

  close(): void {
    if (this.state !== "closed") this.#finish(null);
  }

  /** Gets a token, and tells the gateway, see `Client.renew`. */
  async renew(): Promise<void> {
    if (this.options.token === undefined) throw new TypeError("the client has no token to renew: give the option token");
    if (this.state === "closed") throw new GatewayError("closed", "the client was closed");
    if (this.connection === null) this.retryNow();
    else await this.#authenticate(this.connection);
  }

  /** The gateway says that the credential has run out. */
  expired(): void {
    if (this.#connection !== null) void this.#keepGood(this.#connection);
  }

  /** The node drains. Come back when it says, after `milliseconds`, and not in one wave with everybody else. */
  comeBack(milliseconds: number): void {
    const wait = milliseconds * (1 + Math.random() / 2);
    this.#notBefore = Date.now() + wait;
    const connection = this.#connection;
    setTimeout(() => connection?.close(1000, "going away"), wait);
  }

  /** Why something has not come about. */
  describeWait(what: string): string {
    const { error } = this.#change;
    return error === null ? `${what} in time` : `${what} in time: ${error.reason}`;
  }

  /** Where to connect, and with what. */
  #socket(): { address: string; socketClass: WebSocketConstructor } {
    const address = socketAddress(this.url, this.options.base);
    if (address === null) throw new TypeError(`'${this.url}' is relative, and here is no page: give the option base`);
    const { shared, token } = this.options;
    if (shared !== undefined) return { address, socketClass: sharedSocketClass(shared, token, this.#timings.connectTimeout) };
    const socketClass = this.options.WebSocket ?? (globalThis.WebSocket as WebSocketConstructor | undefined);
    if (socketClass === undefined) throw new TypeError("no global WebSocket here: pass one as the option WebSocket");
    return { address, socketClass };
  }

  // The page was away: what it believes of its connection may be long over.
  #lookAgain(): void {
    if (this.#connection !== null) this.#connection.probe();
    else if (Date.now() >= this.#notBefore) this.retryNow();
  }

  // A function, for it changes while something is waited for.
  #isClosed(): boolean {
    return this.state === "closed";
  }

  async #open(): Promise<void> {
    if (this.#isClosed()) return;
    let token: string | null;
    try {
      // The worker asks for it itself, where it needs one.
      token = this.options.shared === undefined ? await this.#credentials.get() : null;
    } catch (thrown) {
      const error = toGatewayError(thrown, "unauthenticated");
      this.events.error(error);
      if (this.#isClosed()) return;
      if (error instanceof WrongToken) this.#finish(error);
      else this.#waitToRetry(error);
      return;
    }
    if (this.#isClosed()) return;
    const { address, socketClass } = this.#socket();
    const connection: Connection = new Connection(address, socketClass, token, this.#timings, {
      ready: (_welcome, authenticated) => this.#ready(connection, authenticated),
      pushed: (frame) => this.events.pushed(frame),
      lost: (loss) => this.#lost(loss),
    });
    this.#connection = connection;
  }

  #ready(connection: Connection, authenticated: ServerFrame | null): void {
    this.#connectedAt = Date.now();
    this.#notBefore = 0;
    this.#watch(connection, authenticated);
    this.#moveTo("connected");
    if (this.#connection !== connection) return; // a listener closed the client
    for (const waiter of this.#waiters.splice(0)) waiter.resolve();
    this.events.attach(connection);
  }

  #watch(connection: Connection, authenticated: ServerFrame | null): void {
    // Of a shared socket the worker does.
    if (this.options.shared === undefined)
      this.#credentials.watch(authenticated?.["expires"], () => void this.#keepGood(connection));
  }

  async #authenticate(connection: Connection): Promise<void> {
    try {
      const token = await this.#credentials.get();
      if (token === null || connection !== this.#connection) return;
      const reply = await connection.request({ op: "auth", token });
      if (connection === this.#connection) this.#watch(connection, reply);
    } catch (thrown) {
      // A connection that comes after it has begun with a token of its own.
      if (connection === this.#connection) throw toGatewayError(thrown, "unavailable");
    }
  }

  async #keepGood(connection: Connection): Promise<void> {
    try {
      await this.#authenticate(connection);
    } catch (thrown) {
      const error = toGatewayError(thrown, "unavailable");
      this.events.error(error);
      // One that is refused would be again, and too many of them end the connection.
      if (error.retryable) this.#credentials.watchAgain(() => void this.#keepGood(connection));
    }
  }

  #lost(loss: Loss): void {
    if (this.state === "closed") return;
    this.#connection = null;
    this.#credentials.forget();
    this.events.detach();
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
    // Before anybody is told, who may try at once, or close.
    this.#retryTimer = setTimeout(() => {
      this.#moveTo(this.state, null, error);
      void this.#open();
    }, wait);
    this.#moveTo(this.state === "connecting" ? "connecting" : "reconnecting", Date.now() + wait, error);
  }

  #finish(error: GatewayError | null): void {
    clearTimeout(this.#retryTimer);
    this.#unwatchPage?.();
    this.#credentials.forget();
    this.#moveTo("closed", null, error);
    const connection = this.#connection;
    this.#connection = null;
    connection?.close();
    this.events.ended(error);
    const reason = error ?? new GatewayError("closed", "the client was closed");
    for (const waiter of this.#waiters.splice(0)) waiter.reject(reason);
  }

  #moveTo(state: ClientState, retryAt: number | null = null, error: GatewayError | null = null): void {
    this.#change = { state, failures: this.#backoff.failures, retryAt, error };
    this.events.state(this.#change);
  }
}

function describe(loss: Loss): string {
  const reason = loss.reason === "" ? "" : ` (${loss.reason})`;
  return `the connection ended with code ${loss.code}${reason}`;
}
