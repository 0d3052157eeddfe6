import { guarded } from "./emitter.js";
import type { GatewayError } from "./errors.js";
import { type Beginning, type Position, type Positions, asksHistory } from "./positions.js";
import type { Gap, Message } from "./wire.js";

/** How one caller of `subscribe` wants to hear. */
export interface InboxOptions<Data = unknown> {
  /** Called for each message, as it comes. Without it messages wait for the iterator. */
  readonly onMessage?: (message: Message<Data>) => void;
  /** Called where messages are missing, before the next message. */
  readonly onGap?: (gap: Gap) => void;
  /** Called once the program was given all the history that it asked for. */
  readonly onCaughtUp?: () => void;
  /** Called once, when nothing more will come: `null` if that was asked for, otherwise why. */
  readonly onEnd?: (error: GatewayError | null) => void;
  /** How many messages may wait for the iterator; then the oldest goes, counted. Default 1,000. */
  readonly bufferSize?: number;
}

/** What one caller of `subscribe` has not read yet: bounded, and never losing anything in silence. */
export class Inbox {
  readonly #waiting: Entry[] = [];
  readonly #readers: Reader[] = [];
  readonly #size: number;
  #positions: Record<string, Position>;
  #caughtUp: boolean;
  #historyTaken = false;
  #dropped = 0;
  #end: { readonly error: GatewayError | null } | null = null;

  constructor(
    readonly filter: string,
    private readonly options: InboxOptions & Beginning,
    private readonly onLocalGap: (gap: Gap) => void,
  ) {
    this.#size = options.bufferSize ?? 1000;
    if (!Number.isInteger(this.#size) || this.#size < 1) throw new RangeError("bufferSize is at least 1");
    this.#positions = { ...options.resume };
    this.#caughtUp = !asksHistory(options);
  }

  get buffered(): number {
    return this.#waiting.length;
  }

  get usesCallback(): boolean {
    return this.options.onMessage !== undefined;
  }

  /** Where in streams the messages taken end. */
  get positions(): Positions {
    return { ...this.#positions };
  }

  get caughtUp(): boolean {
    return this.#caughtUp;
  }

  /** What is offered from here on begins at `positions`; null: nowhere that it could be gone on from. */
  begin(positions: Positions | null): void {
    if (positions === null) this.#positions = {};
    // What waits has places of its own, and comes before these.
    else if (this.#waiting.length > 0) this.#positions = { ...positions, ...this.#positions };
    else this.#positions = { ...positions };
  }

  /** All history was offered; with `begun`, what follows it begins there. */
  catchUp(begun?: Positions): void {
    const last = this.#waiting.at(-1);
    if (last !== undefined) {
      last.lastOfHistory = true;
      last.begun = begun;
    } else {
      if (begun !== undefined) this.begin(begun);
      this.#tellCaughtUp();
    }
  }

  /** Takes a message in; `position` is its place in its stream. */
  offer(message: Message, position: Position | null = null): void {
    if (this.#end !== null) return;
    if (this.options.onMessage !== undefined) {
      this.#move(message.stream, position);
      guarded(this.options.onMessage, message);
      return;
    }
    const reader = this.#readers.shift();
    if (reader !== undefined) {
      this.#move(message.stream, position);
      reader.resolve({ done: false, value: message });
      return;
    }
    if (this.#waiting.length >= this.#size) {
      this.#historyTaken ||= this.#waiting.shift()?.lastOfHistory === true;
      this.#dropped += 1;
    }
    this.#waiting.push({ message, position, lastOfHistory: false });
  }

  /** Tells a gap at once; `position` is behind it, in the stream that it names. */
  tell(gap: Gap, position: Position | null = null): void {
    if (this.#waiting.length === 0) this.#move(gap.stream, position);
    if (this.#end === null && this.options.onGap !== undefined) guarded(this.options.onGap, gap);
  }

  /** The next message; done after the end, once everything that waited was taken. */
  take(): Promise<IteratorResult<Message, undefined>> {
    this.#tellDropped();
    if (this.#historyTaken) this.#tellCaughtUp();
    const entry = this.#waiting.shift();
    if (entry !== undefined) {
      this.#historyTaken = entry.lastOfHistory;
      this.#move(entry.message.stream, entry.position);
      if (entry.begun !== undefined) this.#positions = { ...entry.begun };
      return Promise.resolve({ done: false, value: entry.message });
    }
    if (this.#end === null) {
      return new Promise((resolve, reject) => this.#readers.push({ resolve, reject }));
    }
    const { error } = this.#end;
    return error === null ? Promise.resolve({ done: true, value: undefined }) : Promise.reject(error);
  }

  /** Nothing more will come: `null` if that was asked for, otherwise why. */
  end(error: GatewayError | null): void {
    if (this.#end !== null) return;
    this.#tellDropped();
    this.#end = { error };
    for (const reader of this.#readers.splice(0)) {
      if (error === null) reader.resolve({ done: true, value: undefined });
      else reader.reject(error);
    }
    if (this.options.onEnd !== undefined) guarded(this.options.onEnd, error);
  }

  #move(stream: string | undefined, position: Position | null): void {
    if (stream !== undefined && position !== null) this.#positions[stream] = position;
  }

  // Only the first time: it comes again after a reconnect.
  #tellCaughtUp(): void {
    this.#historyTaken = false;
    if (this.#caughtUp) return;
    this.#caughtUp = true;
    if (this.options.onCaughtUp !== undefined) guarded(this.options.onCaughtUp, undefined);
  }

  #tellDropped(): void {
    if (this.#dropped === 0) return;
    const gap: Gap = { reason: "buffer", filter: this.filter, dropped: this.#dropped };
    this.#dropped = 0;
    this.tell(gap);
    this.onLocalGap(gap);
  }
}

/** A message that waits, and the place in its stream. */
interface Entry {
  readonly message: Message;
  readonly position: Position | null;
  lastOfHistory: boolean;
  begun?: Positions | undefined;
}

interface Reader {
  readonly resolve: (result: IteratorResult<Message, undefined>) => void;
  readonly reject: (error: GatewayError) => void;
}
