/** A fixed token, or the function that gets a fresh one. */
export type Token = string | (() => Promise<string>);

/** Asked for again when this much of a token's life is left, in milliseconds. */
const RENEW_BEFORE = 30_000;
// A longer wait overflows the timer's 32 bits and would fire at once.
const LONGEST_TIMER = 2 ** 31 - 1;

/** The client's credential and the moment to renew it. */
export class Credentials {
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly token: Token | undefined) {}

  /** Whether a refused credential may be followed by a better one. */
  get renewable(): boolean {
    return typeof this.token === "function";
  }

  async get(): Promise<string | null> {
    if (this.token === undefined) return null;
    return typeof this.token === "string" ? this.token : await this.token();
  }

  /** Calls `renew` shortly before `expires` (milliseconds since 1970, or null for never). */
  watch(expires: unknown, renew: () => void): void {
    this.forget();
    if (!this.renewable || typeof expires !== "number") return;
    const left = expires - Date.now();
    const wait = Math.max(1000, left - Math.min(RENEW_BEFORE, left / 2));
    this.#timer = setTimeout(renew, Math.min(wait, LONGEST_TIMER));
  }

  forget(): void {
    clearTimeout(this.#timer);
  }
}
