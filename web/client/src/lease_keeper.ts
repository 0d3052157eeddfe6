/** Deliveries whose leases must not run out: those that wait to be taken, and those that are being worked on. */
import type { Delivery } from "./delivery.js";

/** For how long a lease is renewed: well over the minute that a hidden page's timers may be late by. */
const EXTENSION = 120_000;
const EXTEND_EVERY = EXTENSION / 3;
/** The clocks of page and gateway may differ: the first renewal trusts neither. */
const FIRST_WITHIN = 5000;

interface Kept {
  renewAt: number;
  readonly lost: (() => void) | undefined;
}

/** Renews leases together, with one timer for all of them. */
export class LeaseKeeper {
  readonly #kept = new Map<Delivery, Kept>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAt = Infinity;

  /** Renews the lease until `letGo`; calls `lost` once where the gateway says that it has run out. */
  keep(delivery: Delivery, lost?: () => void): void {
    const now = Date.now();
    const known = this.#kept.get(delivery);
    const left = Math.max(0, delivery.deadline - now) / 3;
    const renewAt = known?.renewAt ?? now + Math.min(FIRST_WITHIN, left);
    this.#kept.set(delivery, { renewAt, lost });
    this.#arm(renewAt);
  }

  letGo(delivery: Delivery): void {
    if (this.#kept.delete(delivery) && this.#kept.size === 0) this.#disarm();
  }

  /** Renews all of them at once. */
  renewNow(): void {
    for (const kept of this.#kept.values()) kept.renewAt = 0;
    if (this.#kept.size > 0) this.#renew();
  }

  letAllGo(): void {
    this.#kept.clear();
    this.#disarm();
  }

  #arm(at: number): void {
    if (at >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(() => this.#renew(), Math.max(0, at - Date.now()));
  }

  #disarm(): void {
    clearTimeout(this.#timer);
    this.#timerAt = Infinity;
  }

  #renew(): void {
    this.#timerAt = Infinity;
    const now = Date.now();
    let next = Infinity;
    for (const [delivery, kept] of this.#kept) {
      if (kept.renewAt <= now) {
        kept.renewAt = now + EXTEND_EVERY;
        void this.#extend(delivery);
      }
      next = Math.min(next, kept.renewAt);
    }
    if (next < Infinity) this.#arm(next);
  }

  async #extend(delivery: Delivery): Promise<void> {
    // What can't be renewed for now is by the next round; what may not be is the answer's affair.
    const good = await delivery.extend(EXTENSION).catch(() => true);
    const kept = this.#kept.get(delivery);
    if (good || kept === undefined) return;
    this.letGo(delivery);
    kept.lost?.();
  }
}
