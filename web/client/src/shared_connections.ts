/** The worker's side: one connection for all tabs that may share it. */
import { Connection, type Loss, type Timings, UNAUTHENTICATED, type WebSocketConstructor } from "./connection.js";
import { Credentials } from "./credentials.js";
import { GatewayError, toGatewayError } from "./errors.js";
import { patiently } from "./patience.js";
import { Registry } from "./registry.js";
import { GONE_AFTER, type OpenRequest } from "./shared_protocol.js";
import { type SharedParts, Tab } from "./shared_tab.js";
import type { Gap, Message, ServerFrame } from "./wire.js";

const TIMINGS: Timings = { connectTimeout: 10_000, commandTimeout: 10_000, pingInterval: 25_000, pongTimeout: 10_000 };
/** How long a connection outlasts its last tab, in milliseconds: one that is loaded anew finds it. */
const LINGER = 2000;
/** How long a tab may take to give a token, in milliseconds, before the next one is asked. */
const ANSWER = 3000;

/** Connections by who shares them. */
export class SharedConnections {
  readonly #connections = new Map<string, SharedConnection>();

  constructor(private readonly socketClass: WebSocketConstructor = globalThis.WebSocket as WebSocketConstructor) {}

  /** A tab asks for a socket. */
  open(request: OpenRequest, port: MessagePort): void {
    const key = JSON.stringify([request.url, request.identity, request.token]);
    let connection = this.#connections.get(key);
    if (connection === undefined) {
      connection = new SharedConnection(request, this.socketClass, () => this.#connections.delete(key));
      this.#connections.set(key, connection);
    }
    connection.add(port);
  }
}

class SharedConnection {
  readonly #tabs = new Set<Tab>();
  readonly #parts: SharedParts;
  /** Groups of no tab that are being left. */
  readonly #leaving = new Set<string>();
  readonly #credentials: Credentials;
  readonly #sweep: ReturnType<typeof setInterval>;
  #connection: Connection | null = null;
  #welcome: ServerFrame | null = null;
  #lingering: ReturnType<typeof setTimeout> | undefined;
  #over = false;

  constructor(
    private readonly request: OpenRequest,
    socketClass: WebSocketConstructor,
    private readonly onOver: () => void,
  ) {
    this.#credentials = new Credentials(request.token ? () => this.#askForToken() : undefined, TIMINGS.connectTimeout);
    this.#parts = {
      registry: new Registry(() => undefined, () => undefined),
      request: (command, onReply) => {
        if (this.#connection === null) return Promise.reject(new GatewayError("unavailable", "not connected"));
        return this.#connection.request(command, onReply);
      },
      authenticate: (token) => this.#authenticate(token),
      members: new Map(),
    };
    this.#sweep = setInterval(() => {
      for (const tab of this.#tabs) if (Date.now() - tab.heardAt > GONE_AFTER) tab.close(1001, "not heard of for long");
    }, GONE_AFTER / 3);
    // The tab that this is for joins first: it may be asked for a token.
    queueMicrotask(() => void this.#open(socketClass));
  }

  add(port: MessagePort): void {
    clearTimeout(this.#lingering);
    const tab: Tab = new Tab(port, () => this.#left(tab));
    this.#tabs.add(tab);
    if (this.#welcome !== null) tab.welcome(this.#welcome, this.#parts);
  }

  async #open(socketClass: WebSocketConstructor): Promise<void> {
    let token: string | null;
    try {
      token = await this.#credentials.get();
    } catch (thrown) {
      this.#end(1006, toGatewayError(thrown, "unauthenticated").reason);
      return;
    }
    if (this.#over) return;
    this.#connection = new Connection(this.request.url, socketClass, token, TIMINGS, {
      ready: (welcome, authenticated) => this.#ready(welcome, authenticated),
      pushed: (frame) => this.#pushed(frame),
      lost: (loss) => this.#lost(loss),
    });
  }

  #ready(welcome: ServerFrame, authenticated: ServerFrame | null): void {
    this.#credentials.watch(authenticated?.["expires"], () => void this.#renew());
    this.#welcome = welcome;
    this.#parts.registry.attach(this.#parts.request);
    for (const tab of this.#tabs) tab.welcome(welcome, this.#parts);
  }

  // The registry looks at what frames and messages have in common: topic, stream, offset, snapshot.
  #pushed(frame: ServerFrame): void {
    const filter = typeof frame["filter"] === "string" ? frame["filter"] : null;
    switch (frame.op) {
      case "message":
        this.#parts.registry.deliver(frame as unknown as Message, filter);
        return;
      case "caught_up":
        this.#parts.registry.caughtUp(String(filter));
        return;
      case "delivery":
      case "released": {
        const key = `${String(frame["stream"])}/${String(frame["group"])}`;
        const tab = this.#parts.members.get(key);
        if (frame.op === "released") this.#parts.members.delete(key);
        if (tab !== undefined) tab.tell(frame);
        else if (frame.op === "delivery") this.#leave(key, frame);
        return;
      }
      case "unsubscribed":
        this.#parts.registry.ended(String(filter));
        this.#tellAll(frame);
        return;
      case "gap":
        if (filter !== null) this.#parts.registry.tell(frame as unknown as Gap);
        else this.#tellAll(frame);
        return;
      case "error":
        if (frame["code"] === "token_expired") void this.#renew();
        else this.#tellAll(frame);
        return;
      default:
        this.#tellAll(frame);
    }
  }

  // The tab has gone, and the gateway did not take its word: what comes would wait for its lease to run out.
  #leave(key: string, { stream, group }: ServerFrame): void {
    if (this.#leaving.has(key)) return;
    this.#leaving.add(key);
    void this.#parts
      .request({ op: "release", stream, group })
      .catch(() => undefined)
      .then(() => this.#leaving.delete(key));
  }

  #tellAll(frame: ServerFrame): void {
    for (const tab of this.#tabs) tab.tell(frame);
  }

  /** Any tab's will do, for they speak for one identity: the newest is the least likely to be frozen. */
  async #askForToken(): Promise<string> {
    let failure = new GatewayError("unavailable", "no tab is left to ask for a token");
    for (const tab of [...this.#tabs].reverse()) {
      try {
        return await patiently(tab.token(), { timeout: ANSWER }, () => "a tab gave no token");
      } catch (thrown) {
        failure = toGatewayError(thrown, "unavailable");
      }
    }
    throw failure;
  }

  async #renew(): Promise<void> {
    try {
      const token = await this.#credentials.get();
      if (token !== null) await this.#authenticate(token);
    } catch (thrown) {
      const error = toGatewayError(thrown, "unavailable");
      this.#tellAll({ op: "error", code: error.code, reason: error.reason, fatal: false });
      if (error.retryable && !this.#over) this.#credentials.watchAgain(() => void this.#renew());
    }
  }

  async #authenticate(token: string): Promise<ServerFrame> {
    const reply = await this.#parts.request({ op: "auth", token });
    this.#credentials.watch(reply["expires"], () => void this.#renew());
    return reply;
  }

  // Each tab comes back by itself, with its own positions: there is nothing to be kept here.
  #lost(loss: Loss): void {
    if (loss.error !== null) {
      const { code, reason } = loss.error;
      this.#tellAll({ op: "error", code, reason, fatal: true });
    }
    this.#end(loss.code === UNAUTHENTICATED && this.request.token ? 1006 : loss.code, loss.reason);
  }

  #left(tab: Tab): void {
    if (!this.#tabs.delete(tab) || this.#tabs.size > 0 || this.#over) return;
    this.#lingering = setTimeout(() => this.#end(1000, ""), LINGER);
  }

  #end(code: number, reason: string): void {
    if (this.#over) return;
    this.#over = true;
    this.onOver();
    clearInterval(this.#sweep);
    clearTimeout(this.#lingering);
    this.#credentials.forget();
    const connection = this.#connection;
    this.#connection = null;
    for (const tab of [...this.#tabs]) tab.close(code, reason);
    connection?.close();
  }
}
