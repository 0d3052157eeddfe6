/** What the topic explorer has seen: bounded, counted, and apart from how it is shown. */
import type { Gap, Message } from "@fanout-gateway/client";

/** One line of the list. `receivedAt`: milliseconds since 1970, of this browser. */
export type Entry =
  | { readonly kind: "message"; readonly receivedAt: number; readonly message: Message }
  | { readonly kind: "gap"; readonly receivedAt: number; readonly gap: Gap };

/** How many entries are shown, and how many wait to be shown. */
export const CAPACITY = 500;
/** How far back the rate goes, in seconds. */
export const HISTORY_SECONDS = 60;

export class Feed {
  #waiting: Entry[] = [];
  #paused = false;
  #arrivedWhilePaused = 0;
  #total = 0;
  /** Messages per second of the clock: index 0 is the running second. */
  #perSecond: number[] = new Array<number>(HISTORY_SECONDS + 1).fill(0);
  #second = 0;

  get total(): number {
    return this.#total;
  }

  get paused(): boolean {
    return this.#paused;
  }

  get arrivedWhilePaused(): number {
    return this.#arrivedWhilePaused;
  }

  add(entry: Entry): void {
    if (entry.kind === "message") {
      this.#total += 1;
      this.#turnTo(entry.receivedAt);
      this.#perSecond[0] = (this.#perSecond[0] ?? 0) + 1;
      if (this.#paused) this.#arrivedWhilePaused += 1;
    }
    this.#waiting.push(entry);
    // Cut in large steps: shifting one by one would move the whole list for each message of a burst.
    if (this.#waiting.length >= 2 * CAPACITY) this.#waiting = this.#waiting.slice(-CAPACITY);
  }

  pause(): void {
    this.#paused = true;
    this.#arrivedWhilePaused = 0;
  }

  resume(): void {
    this.#paused = false;
  }

  /** What has come since the last call, oldest first, at most `CAPACITY` of it; nothing while paused. */
  take(): readonly Entry[] {
    if (this.#paused) return [];
    const taken = this.#waiting.slice(-CAPACITY);
    this.#waiting = [];
    return taken;
  }

  /** Forgets what waits and the counts. */
  clear(): void {
    this.#waiting = [];
    this.#total = 0;
    this.#arrivedWhilePaused = 0;
    this.#perSecond.fill(0);
  }

  /** Messages in each of the last full seconds, the latest first. */
  rates(now: number): readonly number[] {
    this.#turnTo(now);
    return this.#perSecond.slice(1);
  }

  #turnTo(now: number): void {
    const second = Math.floor(now / 1000);
    const passed = Math.min(second - this.#second, this.#perSecond.length);
    if (passed <= 0) return;
    this.#second = second;
    this.#perSecond = [...new Array<number>(passed).fill(0), ...this.#perSecond].slice(0, HISTORY_SECONDS + 1);
  }
}
