/** Where a subscription is in the streams that it matches, and where it asks to begin. */
import type { Gap, Message, ServerFrame } from "./wire.js";
import { present } from "./wire.js";

/** A place in one life of a stream: `offset` is the last one already had (0: none). */
export interface Position {
  readonly epoch: string;
  readonly offset: number;
}

/** By the stream's name; JSON has it as it is. */
export type Positions = Readonly<Record<string, Position>>;

/**
 * Where to begin in streams: offsets and counts from 1, the time in milliseconds since 1970. `last` counts what matches,
 * `last_per_topic` (up to 1,000) each matching topic's newest.
 */
export type StartFrom =
  | "new"
  | "earliest"
  | "snapshot"
  | { readonly offset: number }
  | { readonly time: number }
  | { readonly last: number }
  | { readonly last_per_topic: number };

/** What a subscription asks for: `resume` where it names a stream, `from` in all others. */
export interface Beginning {
  readonly from?: StartFrom;
  readonly resume?: Positions;
}

/** Whether the gateway answers with history, and `caught_up` behind it. */
export function asksHistory({ from, resume }: Beginning): boolean {
  return (from !== undefined && from !== "new") || Object.keys(resume ?? {}).length > 0;
}

/** What was received of one filter's streams: moved by every message, read by the next `subscribe`. */
export class Received {
  #at = new Map<string, Position>();
  #from: StartFrom | undefined;

  constructor(beginning: Beginning) {
    this.#from = beginning.from;
    this.#at = new Map(Object.entries(beginning.resume ?? {}));
  }

  get positions(): Positions {
    return Object.fromEntries(this.#at);
  }

  get from(): StartFrom | undefined {
    return this.#from;
  }

  /** The fields of a `subscribe` that goes on behind what was received. */
  get beginning(): Beginning {
    const resume = this.#at.size > 0 ? this.positions : undefined;
    return { ...present("from", this.#from === "new" ? undefined : this.#from), ...present("resume", resume) };
  }

  /** The gateway has confirmed it on a new connection. */
  begin(subscribed: ServerFrame): void {
    this.#at = new Map(Object.entries((subscribed["positions"] ?? {}) as Positions));
    // Whatever stream comes to be from now on, it is new; only "earliest" and "snapshot" have a say in that.
    if (this.#from !== "earliest" && this.#from !== "snapshot") this.#from = undefined;
  }

  /** It goes on where others of its filter are. */
  beginAt(positions: Positions): void {
    this.#at = new Map(Object.entries(positions));
    this.#from = undefined;
  }

  /** The gateway goes on for several of one filter, behind the least of their positions: the own one stays. */
  goOn(subscribed: ServerFrame): void {
    const own = this.#at;
    this.begin(subscribed);
    for (const [stream, { epoch, offset }] of own) {
      const told = this.#at.get(stream);
      if (told?.epoch === epoch && told.offset < offset) this.#at.set(stream, { epoch, offset });
    }
  }

  /** Whether nothing behind `positions` is missing here. */
  covers(positions: Positions): boolean {
    return Object.entries(positions).every(([stream, { epoch, offset }]) => {
      const own = this.#at.get(stream);
      return own?.epoch === epoch && own.offset >= offset;
    });
  }

  /** Whether what the gateway confirmed begins with last values: behind its positions is not all that it wants. */
  beginsWithSnapshot(subscribed: ServerFrame): boolean {
    return this.#from === "snapshot" && subscribed["recovered"] !== true;
  }

  /** Begins anew: what was received can't be gone on with. */
  forget(): void {
    this.#at = new Map();
  }

  at(stream: string): Position | null {
    return this.#at.get(stream) ?? null;
  }

  /** Whether `message` lies at or before the position: this subscription began after it. */
  has({ stream, offset }: Message): boolean {
    return stream !== undefined && (offset ?? 0) <= (this.#at.get(stream)?.offset ?? -1);
  }

  /** Moves behind `message`; returns the place, null for live topics and streams whose epoch nobody told. */
  pass({ stream, offset }: Message): Position | null {
    const before = stream === undefined ? undefined : this.#at.get(stream);
    if (before === undefined || offset === undefined) return null;
    const after = { epoch: before.epoch, offset: Math.max(before.offset, offset) };
    this.#at.set(stream as string, after);
    return after;
  }

  /** Moves behind what is missing, or into a stream's new epoch. */
  passGap({ reason, stream, epoch, offset, to }: Gap): void {
    const before = stream === undefined ? undefined : this.#at.get(stream);
    if (stream === undefined || before === undefined) return;
    if (reason !== "epoch") this.#at.set(stream, { ...before, offset: Math.max(before.offset, to ?? 0) });
    else if (epoch === undefined) this.#at.delete(stream);
    // A gateway that names no place goes on with the first message that there is.
    else if (epoch !== before.epoch) this.#at.set(stream, { epoch, offset: offset ?? 0 });
  }
}
