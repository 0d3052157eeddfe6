/** What the tail has seen: bounded, counted, and apart from how it is shown. */
import type { Gap, Message } from "@fanout-gateway/client";

/** One line of the list. `receivedAt`: milliseconds since 1970, of this browser; `number` counts lines from 1. */
export type Entry = { readonly number: number; readonly receivedAt: number } & (
  { readonly kind: "message"; readonly message: Message } | { readonly kind: "gap"; readonly gap: Gap }
);
export type NewEntry =
  | {
      readonly kind: "message";
      readonly receivedAt: number;
      readonly message: Message;
      /** Whether it is history, which has no part in the rate. */
      readonly past?: boolean;
    }
  | { readonly kind: "gap"; readonly receivedAt: number; readonly gap: Gap };

/** How many entries are kept to be shown. */
export const CAPACITY = 2_000;
/** What nobody can read any more: of longer floods than `BURST` so many a second are shown, evenly picked. */
export const SHOWN_PER_SECOND = 200;
export const BURST = 2_000;
/** How far back the rate goes, in seconds. */
export const HISTORY_SECONDS = 60;

export class Feed {
  #entries: readonly Entry[] = [];
  #waiting: Entry[] = [];
  #paused = false;
  #arrivedWhilePaused = 0;
  #leftOut = 0;
  #total = 0;
  #gaps = 0;
  #numbered = 0;
  #credit = BURST;
  #credited = 0;
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

  /** Messages that were counted and not shown, since more came than anybody can read. */
  get leftOut(): number {
    return this.#leftOut;
  }

  /** How often something was told to be missing. */
  get gaps(): number {
    return this.#gaps;
  }

  /** What is shown, the newest first; another list only where something has changed. */
  get entries(): readonly Entry[] {
    return this.#entries;
  }

  add(entry: NewEntry): void {
    if (entry.kind === "message") {
      this.#total += 1;
      this.#turnTo(entry.receivedAt);
      if (entry.past !== true) this.#perSecond[0] = (this.#perSecond[0] ?? 0) + 1;
      if (this.#paused) this.#arrivedWhilePaused += 1;
    } else this.#gaps += 1;
    this.#numbered += 1;
    this.#waiting.push({ ...entry, number: this.#numbered });
    // Cut in large steps: shifting one by one would move the whole list for each message of a burst.
    if (this.#waiting.length >= 2 * CAPACITY) {
      this.#leftOut += this.#waiting.length - CAPACITY;
      this.#waiting = this.#waiting.slice(-CAPACITY);
    }
  }

  pause(): void {
    this.#paused = true;
    this.#arrivedWhilePaused = 0;
  }

  resume(): void {
    this.#paused = false;
  }

  /** Takes what has come since the last call into `entries`; nothing while paused. Returns whether something was. */
  take(now: number): boolean {
    const elapsed = Math.max(0, now - this.#credited) / 1000;
    this.#credit = Math.min(BURST, this.#credit + elapsed * SHOWN_PER_SECOND);
    this.#credited = now;
    if (this.#paused || this.#waiting.length === 0) return false;
    const taken = sample(this.#waiting, Math.floor(this.#credit));
    this.#credit = Math.max(0, this.#credit - taken.length);
    this.#leftOut += this.#waiting.length - taken.length;
    this.#waiting = [];
    this.#entries = [...taken.reverse(), ...this.#entries].slice(0, CAPACITY);
    return true;
  }

  /** Forgets everything. */
  clear(): void {
    this.#entries = [];
    this.#waiting = [];
    this.#total = 0;
    this.#gaps = 0;
    this.#leftOut = 0;
    this.#arrivedWhilePaused = 0;
    this.#credit = BURST;
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

/** At most `most` messages, evenly picked; the newest and every gap always. Oldest first. */
export function sample(waiting: readonly Entry[], most: number): Entry[] {
  if (waiting.length <= most) return [...waiting];
  const step = waiting.length / Math.max(1, most);
  let due = waiting.length - 1;
  const picked: Entry[] = [];
  for (let index = waiting.length - 1; index >= 0; index -= 1) {
    const entry = waiting[index];
    if (entry === undefined) continue;
    if (index <= due) {
      picked.push(entry);
      due -= step;
    } else if (entry.kind === "gap") picked.push(entry);
  }
  return picked.reverse();
}
