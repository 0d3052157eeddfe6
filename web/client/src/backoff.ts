/** How long to wait before trying to connect again. */
export interface BackoffOptions {
  /** Upper bound of the first wait, in milliseconds; it doubles with each failure. Default 250. */
  readonly initial?: number;
  /** Upper bound of any wait, in milliseconds. Default 30,000. */
  readonly maximum?: number;
  /** A connection that lasted this many milliseconds counts as a success: the waits begin anew. Default 10,000. */
  readonly stableAfter?: number;
}

/**
 * Exponential backoff with full jitter: each wait is drawn evenly between nothing and the bound, so that the clients
 * of a node that went away do not come back in one wave.
 */
export class Backoff {
  readonly stableAfter: number;
  readonly #initial: number;
  readonly #maximum: number;
  #failures = 0;

  constructor(
    options: BackoffOptions = {},
    private readonly random: () => number = Math.random,
  ) {
    this.#initial = options.initial ?? 250;
    this.#maximum = options.maximum ?? 30_000;
    this.stableAfter = options.stableAfter ?? 10_000;
  }

  /** How many waits were drawn since the last success. */
  get failures(): number {
    return this.#failures;
  }

  /** Draws the next wait in milliseconds. */
  next(): number {
    const bound = Math.min(this.#maximum, this.#initial * 2 ** Math.min(this.#failures, 30));
    this.#failures += 1;
    return Math.round(this.random() * bound);
  }

  /** Forgets the failures so far. */
  reset(): void {
    this.#failures = 0;
  }
}
