import { guarded } from "./emitter.js";
import type { GatewayError } from "./errors.js";
import type { Gap, Message } from "./wire.js";

/** How one caller of `subscribe` wants to hear. */
export interface InboxOptions {
  /** Called for each message, as it comes. Without it messages wait for the iterator. */
  readonly onMessage?: (message: Message) => void;
  /** Called where messages are missing, before the next message. */
  readonly onGap?: (gap: Gap) => void;
  /** How many messages may wait for the iterator; then the oldest goes, counted. Default 1,000. */
  readonly bufferSize?: number;
}

/** What one caller of `subscribe` has not read yet: bounded, and never losing anything in silence. */
export class Inbox {
  readonly #waiting: Message[] = [];
  readonly #readers: Reader[] = [];
  readonly #size: number;
  #dropped = 0;
  #end: { readonly error: GatewayError | null } | null = null;

  constructor(
    readonly filter: string,
    private readonly options: InboxOptions,
    private readonly onLocalGap: (gap: Gap) => void,
  ) {
    this.#size = options.bufferSize ?? 1000;
    if (!Number.isInteger(this.#size) || this.#size < 1) throw new RangeError("bufferSize is at least 1");
  }

  get buffered(): number {
    return this.#waiting.length;
  }

  get usesCallback(): boolean {
    return this.options.onMessage !== undefined;
  }

  offer(message: Message): void {
    if (this.#end !== null) return;
    if (this.options.onMessage !== undefined) {
      guarded(this.options.onMessage, message);
      return;
    }
    const reader = this.#readers.shift();
    if (reader !== undefined) {
      reader.resolve({ done: false, value: message });
      return;
    }
    if (this.#waiting.length >= this.#size) {
      this.#waiting.shift();
      this.#dropped += 1;
    }
    this.#waiting.push(message);
  }

  tell(gap: Gap): void {
    if (this.#end === null && this.options.onGap !== undefined) guarded(this.options.onGap, gap);
  }

  /** The next message; done after the end, once everything that waited was taken. */
  take(): Promise<IteratorResult<Message, undefined>> {
    this.#tellDropped();
    const value = this.#waiting.shift();
    if (value !== undefined) return Promise.resolve({ done: false, value });
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
  }

  #tellDropped(): void {
    if (this.#dropped === 0) return;
    const gap: Gap = { reason: "buffer", filter: this.filter, dropped: this.#dropped };
    this.#dropped = 0;
    this.tell(gap);
    this.onLocalGap(gap);
  }
}

interface Reader {
  readonly resolve: (result: IteratorResult<Message, undefined>) => void;
  readonly reject: (error: GatewayError) => void;
}
