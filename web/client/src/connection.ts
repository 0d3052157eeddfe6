/** One WebSocket: its handshake, the commands that await a reply, its keepalive, its end. */
import { GatewayError } from "./errors.js";
import { type CommandFrame, type ServerFrame, SUBPROTOCOL, decodeFrame } from "./wire.js";

/** What this library needs of a WebSocket; browsers, Node from 22 and the package `ws` have it. */
export interface WebSocketLike {
  readonly readyState: number;
  readonly bufferedAmount: number;
  send(data: string): void;
  close(code?: number, reason?: string): void;
  // The event types of the several implementations have no common ancestor.
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  onmessage: ((event: any) => any) | null;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  onclose: ((event: any) => any) | null;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  onerror: ((event: any) => any) | null;
}

export type WebSocketConstructor = new (url: string, protocols?: string | string[]) => WebSocketLike;

/** How a connection ended. `error` is the gateway's last word, if it gave one. */
export interface Loss {
  readonly code: number;
  readonly reason: string;
  readonly error: GatewayError | null;
}

export interface Timings {
  /** From opening the socket to the last step of the handshake. */
  readonly connectTimeout: number;
  readonly commandTimeout: number;
  /** After this long without a frame, a ping is sent; */
  readonly pingInterval: number;
  /** and after this long without an answer, the connection is given up. */
  readonly pongTimeout: number;
}

export interface ConnectionEvents {
  ready(welcome: ServerFrame, authenticated: ServerFrame | null): void;
  /** Every frame that is no reply: messages, gaps, and errors that name no command. */
  pushed(frame: ServerFrame): void;
  /** Once, at the end, however it came about. */
  lost(loss: Loss): void;
}

interface Pending {
  readonly resolve: (frame: ServerFrame) => void;
  readonly reject: (error: GatewayError) => void;
  readonly timer: ReturnType<typeof setTimeout>;
}

const OPEN = 1;
const PENDING_COMMANDS = 10_000;
const UNSENT_BYTES = 16 * 1024 * 1024;
/** "Abnormal closure" (RFC 6455, 7.4.1): what a lost connection is called where no close frame came. */
const ABNORMAL = 1006;
/** The gateway's close code for a credential that is not right (docs/protocol.md, "Close codes"). */
export const UNAUTHENTICATED = 4401;
const REFUSED: ReadonlySet<string> = new Set(["unauthenticated", "token_expired", "forbidden"]);

export class Connection {
  readonly #socket: WebSocketLike;
  readonly #pending = new Map<number, Pending>();
  #welcome: ServerFrame | null = null;
  #lastError: GatewayError | null = null;
  #lastRef = 0;
  #heardAt = Date.now();
  /** Nothing was heard since it was asked. */
  #silent = false;
  #timer: ReturnType<typeof setTimeout>;
  #ended = false;

  constructor(
    url: string,
    socketClass: WebSocketConstructor,
    private readonly token: string | null,
    private readonly timings: Timings,
    private readonly events: ConnectionEvents,
  ) {
    this.#socket = new socketClass(url, [SUBPROTOCOL]);
    this.#socket.onmessage = (event: { data: unknown }) => this.#heard(event.data);
    this.#socket.onerror = () => this.#failed();
    this.#socket.onclose = (event: { code?: number; reason?: string }) =>
      this.#end(event.code ?? ABNORMAL, event.reason ?? "");
    this.#timer = setTimeout(() => this.close(ABNORMAL, "no connection in time"), timings.connectTimeout);
  }

  /**
   * Sends a command and resolves with its reply; rejects with `GatewayError` if it is refused, late or lost.
   * `onReply` gets the reply before the next frame is looked at, which a promise can't promise.
   */
  request(command: CommandFrame, onReply?: (reply: ServerFrame) => void): Promise<ServerFrame> {
    return new Promise((resolve, reject) => {
      if (this.#pending.size >= PENDING_COMMANDS) {
        reject(new GatewayError("rate_limited", `${PENDING_COMMANDS} commands await their replies`));
        return;
      }
      const ref = ++this.#lastRef;
      const failure = this.#write({ ...command, ref });
      if (failure !== null) {
        reject(failure);
        return;
      }
      const timer = setTimeout(() => {
        this.#pending.delete(ref);
        reject(new GatewayError("timeout", `no reply to ${command.op} in ${this.timings.commandTimeout} ms`));
      }, this.timings.commandTimeout);
      const answered = (reply: ServerFrame): void => {
        onReply?.(reply);
        resolve(reply);
      };
      this.#pending.set(ref, { resolve: answered, reject, timer });
    });
  }

  /** Sends a command whose reply nobody awaits; throws `GatewayError` where it can't be sent. */
  send(command: CommandFrame): void {
    const failure = this.#write(command);
    if (failure !== null) throw failure;
  }

  /** Asks at once whether the gateway is there; without an answer in time the connection ends. */
  probe(): void {
    if (this.#ended || this.#welcome === null) return;
    clearTimeout(this.#timer);
    this.#ask();
  }

  /** Ends the connection from this side: at once for the program, whatever the socket takes to close. */
  close(code = 1000, reason = ""): void {
    if (this.#ended) return;
    this.#end(code, reason);
    this.#socket.close();
  }

  // A close event follows at once and says more; but not in Node 20, where a refused connection has an error event only.
  #failed(): void {
    if (this.#welcome === null) setTimeout(() => this.close(ABNORMAL, "no connection"), 0);
  }

  #write(command: CommandFrame): GatewayError | null {
    if (this.#ended || this.#socket.readyState !== OPEN) return new GatewayError("unavailable", "not connected");
    if (this.#socket.bufferedAmount > UNSENT_BYTES) {
      return new GatewayError("rate_limited", "the connection is slower than what is sent");
    }
    this.#socket.send(JSON.stringify(command));
    return null;
  }

  #heard(data: unknown): void {
    if (this.#ended) return;
    this.#heardAt = Date.now();
    this.#silent = false;
    let frame: ServerFrame;
    try {
      frame = decodeFrame(data);
    } catch (error) {
      this.#lastError = error as GatewayError;
      this.close(1002, "bad frame");
      return;
    }
    if (this.#welcome === null) this.#greet(frame);
    else if (!this.#reply(frame)) this.#push(frame);
  }

  #greet(frame: ServerFrame): void {
    if (frame.op !== "welcome") {
      this.#push(frame);
      return;
    }
    this.#welcome = frame;
    if (this.token === null) {
      this.#ready(frame, null);
      return;
    }
    this.request({ op: "auth", token: this.token }).then(
      (reply) => this.#ready(frame, reply),
      (error: GatewayError) => {
        this.#lastError ??= error;
        this.close(REFUSED.has(error.code) ? UNAUTHENTICATED : ABNORMAL, error.reason);
      },
    );
  }

  #ready(welcome: ServerFrame, authenticated: ServerFrame | null): void {
    if (this.#ended) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#keepAlive(), this.timings.pingInterval);
    this.events.ready(welcome, authenticated);
  }

  #reply(frame: ServerFrame): boolean {
    const pending = typeof frame.ref === "number" ? this.#pending.get(frame.ref) : undefined;
    if (pending === undefined) return false;
    this.#pending.delete(frame.ref as number);
    clearTimeout(pending.timer);
    if (frame.op !== "error") {
      pending.resolve(frame);
      return true;
    }
    const error = toError(frame);
    if (frame["fatal"] === true) this.#lastError = error;
    pending.reject(error);
    return true;
  }

  #push(frame: ServerFrame): void {
    if (frame.op === "error" && frame["fatal"] === true) this.#lastError = toError(frame);
    // The reply to a command that was given up, or to our own ping.
    if (frame.op === "pong" || (typeof frame.ref === "number" && frame.op !== "error")) return;
    this.events.pushed(frame);
  }

  // One timer per connection, not one per frame: it looks at when something was heard last.
  #keepAlive(): void {
    const quiet = Date.now() - this.#heardAt;
    if (quiet < this.timings.pingInterval) {
      this.#timer = setTimeout(() => this.#keepAlive(), this.timings.pingInterval - quiet);
      return;
    }
    this.#ask();
  }

  #ask(): void {
    this.#silent = true;
    this.#write({ op: "ping" });
    this.#timer = setTimeout(() => {
      if (this.#silent) this.close(ABNORMAL, "the gateway does not answer");
      else this.#keepAlive();
    }, this.timings.pongTimeout);
  }

  #end(code: number, reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#timer);
    const lost = new GatewayError("unavailable", "the connection was lost before the reply");
    for (const pending of this.#pending.values()) {
      clearTimeout(pending.timer);
      pending.reject(lost);
    }
    this.#pending.clear();
    this.events.lost({ code, reason, error: this.#lastError });
  }
}

/** The `GatewayError` that a frame of op `error` tells. */
export function toError(frame: ServerFrame): GatewayError {
  return new GatewayError(String(frame["code"]), String(frame["reason"]));
}
