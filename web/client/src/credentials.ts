import { GatewayError } from "./errors.js";

/** A fixed token, or the function that gets a fresh one. */
export type Token = string | (() => Promise<string>);

/** After which part of its life a token is renewed; by chance, for many clients may have begun together. */
const AHEAD = { from: 0.7, to: 0.85 };
const LEAST_WAIT = 1000;
/** The longest wait after a renewal that failed for now, in milliseconds. */
const AGAIN = 30_000;
// A longer wait overflows the timer's 32 bits and would fire at once.
const LONGEST_TIMER = 2 ** 31 - 1;

/** The token function returned something else: the same again would fail again. */
export class WrongToken extends GatewayError {}

/** The client's credential and the moment to renew it. */
export class Credentials {
  #timer: ReturnType<typeof setTimeout> | undefined;
  #expires: number | null = null;

  constructor(
    private readonly token: Token | undefined,
    private readonly timeout: number,
  ) {}

  /** Whether a refused credential may be followed by a better one. */
  get renewable(): boolean {
    return typeof this.token === "function";
  }

  /**
   * The token to present now.
   *
   * @throws WrongToken the function returned no text; whatever else it throws; GatewayError `timeout` if it hangs.
   */
  async get(): Promise<string | null> {
    if (this.token === undefined) return null;
    const token: unknown = typeof this.token === "string" ? this.token : await this.#inTime(this.token());
    if (typeof token !== "string") {
      const kind = token === null ? "null" : typeof token;
      throw new WrongToken("unauthenticated", `the token function must return a string, not ${kind}`);
    }
    return token;
  }

  /** Calls `renew` some time before `expires` (milliseconds since 1970, or null for never). */
  watch(expires: unknown, renew: () => void): void {
    this.forget();
    if (!this.renewable || typeof expires !== "number") return;
    this.#expires = expires;
    const left = expires - Date.now();
    this.#wait(left * (AHEAD.from + (AHEAD.to - AHEAD.from) * Math.random()), renew);
  }

  /** Calls `renew` again after it has failed for now. */
  watchAgain(renew: () => void): void {
    const left = (this.#expires ?? 0) - Date.now();
    clearTimeout(this.#timer);
    this.#wait(Math.min(AGAIN, Math.max(2 * LEAST_WAIT, left / 4)) * (0.5 + Math.random() / 2), renew);
  }

  forget(): void {
    this.#expires = null;
    clearTimeout(this.#timer);
  }

  #wait(milliseconds: number, renew: () => void): void {
    this.#timer = setTimeout(renew, Math.min(Math.max(LEAST_WAIT, milliseconds), LONGEST_TIMER));
  }

  #inTime(fetched: Promise<string>): Promise<string> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      const error = new GatewayError("timeout", `the token function gave none in ${this.timeout} ms`);
      timer = setTimeout(() => reject(error), this.timeout);
    });
    return Promise.race([fetched, late]).finally(() => clearTimeout(timer));
  }
}
