/** What a program says of its deliveries, on its way to the gateway. */
import { GatewayError, toGatewayError } from "./errors.js";
import type { Request } from "./line.js";

/** An `ack`, `nack` or `extend` without the deliveries that it is about. */
export interface Answer {
  readonly op: "ack" | "nack" | "extend";
  readonly delay?: number;
  readonly dead?: true;
  readonly by?: number;
}

/** For how long an answer is repeated that could not be given, in milliseconds. */
const PATIENCE = 60_000;
const AGAIN = 1000;
// A frame is bounded (docs/protocol.md, "Limits"), and so is a token.
const TOKENS_PER_COMMAND = 100;

interface Entry {
  readonly token: string;
  readonly answer: Answer;
  readonly until: number;
  readonly resolve: (done: boolean) => void;
  readonly reject: (error: GatewayError) => void;
  /** Why it could not be given when it was tried last. */
  error?: GatewayError;
}

/**
 * The answers of one member of a group. Those of one kind that are given in one moment travel together. One that is
 * lost with its connection, or that the gateway can't take just now, is given again: a token is good on every
 * connection, and what was done already is only `stale`.
 */
export class Answers {
  #request: Request | null = null;
  #waiting: Entry[] = [];
  #sent = 0;
  #scheduled = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #idle: (() => void)[] = [];
  #closed: GatewayError | null = null;

  /** Resolves with whether the lease was still one. */
  give(answer: Answer, token: string): Promise<boolean> {
    if (this.#closed !== null) return Promise.reject(this.#closed);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ token, answer, until: Date.now() + PATIENCE, resolve, reject });
      this.#schedule();
    });
  }

  attach(request: Request): void {
    this.#request = request;
    this.#schedule();
  }

  detach(): void {
    this.#request = null;
    if (this.#waiting.length > 0) this.#waitAgain();
  }

  /** Resolves once every answer has come to something, or there is no connection to give it on. */
  settled(): Promise<void> {
    if ((this.#waiting.length === 0 && this.#sent === 0) || this.#request === null) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  /** Gives up what is not given. */
  close(error: GatewayError): void {
    this.#request = null;
    this.#closed = error;
    clearTimeout(this.#timer);
    for (const entry of this.#waiting.splice(0)) entry.reject(error);
    this.#tellIdle();
  }

  #schedule(): void {
    if (this.#request === null) {
      this.#waitAgain();
      return;
    }
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    const request = this.#request;
    if (request === null) return;
    const kinds = new Map<string, Entry[]>();
    for (const entry of this.#waiting.splice(0)) {
      const kind = JSON.stringify(entry.answer);
      const entries = kinds.get(kind);
      if (entries === undefined) kinds.set(kind, [entry]);
      else entries.push(entry);
    }
    for (const entries of kinds.values()) {
      for (let start = 0; start < entries.length; start += TOKENS_PER_COMMAND) {
        void this.#send(request, entries.slice(start, start + TOKENS_PER_COMMAND));
      }
    }
  }

  async #send(request: Request, entries: readonly Entry[]): Promise<void> {
    this.#sent += 1;
    try {
      const deliveries = entries.map(({ token }) => token);
      const reply = await request({ ...(entries[0] as Entry).answer, deliveries });
      const stale = new Set((reply["stale"] ?? []) as string[]);
      for (const entry of entries) entry.resolve(!stale.has(entry.token));
    } catch (thrown) {
      this.#failed(entries, toGatewayError(thrown, "internal"));
    } finally {
      this.#sent -= 1;
      this.#tellIdle();
    }
  }

  #failed(entries: readonly Entry[], error: GatewayError): void {
    const again = error.retryable || error.code === "token_expired";
    const now = Date.now();
    for (const entry of entries) {
      entry.error = error;
      if (again && now < entry.until && this.#closed === null) this.#waiting.push(entry);
      else entry.reject(error);
    }
    if (this.#waiting.length > 0) this.#waitAgain();
  }

  #waitAgain(): void {
    // One that is begun goes on: those that come one after the other would put it off for ever.
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      const now = Date.now();
      const late = new GatewayError("timeout", `the gateway could not be told in ${PATIENCE} ms`);
      for (const entry of this.#waiting.filter(({ until }) => until <= now)) entry.reject(entry.error ?? late);
      this.#waiting = this.#waiting.filter(({ until }) => until > now);
      if (this.#waiting.length > 0) this.#schedule();
      this.#tellIdle();
    }, AGAIN);
  }

  #tellIdle(): void {
    if (this.#request !== null && (this.#waiting.length > 0 || this.#sent > 0)) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}
