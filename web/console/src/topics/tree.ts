/** The topics that were seen, level by level, with counts and rates; bounded. */
import type { Message } from "@fanout-gateway/client";

/** Levels that are kept at most; what comes on others counts for the level above alone. */
export const MOST_LEVELS = 5_000;
/** After how long a message counts a third for the rate, in milliseconds. */
const DECAY = 5_000;

export class Level {
  readonly children = new Map<string, Level>();
  count = 0;
  last: Message | null = null;
  #weight = 0;
  #at = 0;

  constructor(
    readonly name: string,
    /** The topic down to here. */
    readonly path: string,
    readonly depth: number,
  ) {}

  saw(message: Message, now: number, past: boolean): void {
    this.count += 1;
    this.last = message;
    if (past) return;
    this.#weight = this.#weight * Math.exp((this.#at - now) / DECAY) + 1;
    this.#at = now;
  }

  /** Messages per second of late. */
  rate(now: number): number {
    const rate = (this.#weight * Math.exp((this.#at - now) / DECAY) * 1000) / DECAY;
    return rate < 0.05 ? 0 : rate;
  }
}

export class TopicTree {
  #root = new Level("", "", -1);
  #levels = 0;
  #full = false;

  /** Whether topics came that the tree has no room for. */
  get full(): boolean {
    return this.#full;
  }

  get levels(): number {
    return this.#levels;
  }

  /** History (`past`) is counted, and has no part in the rates. */
  add(message: Message, now: number, past = false): void {
    let level = this.#root;
    level.saw(message, now, past);
    const names = message.topic.split("/");
    for (const [depth, name] of names.entries()) {
      let next = level.children.get(name);
      if (next === undefined) {
        if (this.#levels >= MOST_LEVELS) {
          this.#full = true;
          return;
        }
        next = new Level(name, names.slice(0, depth + 1).join("/"), depth);
        level.children.set(name, next);
        this.#levels += 1;
      }
      next.saw(message, now, past);
      level = next;
    }
  }

  clear(): void {
    this.#root = new Level("", "", -1);
    this.#levels = 0;
    this.#full = false;
  }

  /** The levels that are seen where those that `isOpen` says are open, each above its children, by name. */
  visible(isOpen: (level: Level) => boolean): Level[] {
    const seen: Level[] = [];
    const walk = (level: Level): void => {
      for (const child of [...level.children.values()].sort((one, other) => (one.name < other.name ? -1 : 1))) {
        seen.push(child);
        if (child.children.size > 0 && isOpen(child)) walk(child);
      }
    };
    walk(this.#root);
    return seen;
  }
}
