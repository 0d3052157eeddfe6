import { GatewayError } from "./errors.js";

/** For how long a caller waits. */
export interface WaitOptions {
  /** Ends the wait, and what was asked for: the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Milliseconds, after which it rejects with `timeout`. Default 30,000; `Infinity` waits for as long as it takes. */
  readonly timeout?: number;
}

const DEFAULT = 30_000;
// A longer wait overflows the timer's 32 bits and would fire at once.
const LONGEST_TIMER = 2 ** 31 - 1;

/** What `promise` comes to, unless the caller's patience ends before; `late` says what has not come about. */
export async function patiently<T>(promise: Promise<T>, options: WaitOptions, late: () => string): Promise<T> {
  const { signal, timeout = DEFAULT } = options;
  if (!(timeout > 0)) throw new RangeError("timeout is a number of milliseconds above 0");
  signal?.throwIfAborted();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let aborted: (() => void) | undefined;
  const ended = new Promise<never>((_resolve, reject) => {
    if (timeout <= LONGEST_TIMER) timer = setTimeout(() => reject(new GatewayError("timeout", late())), timeout);
    aborted = () => reject(signal?.reason);
    signal?.addEventListener("abort", aborted);
  });
  try {
    return await Promise.race([promise, ended]);
  } finally {
    clearTimeout(timer);
    if (aborted !== undefined) signal?.removeEventListener("abort", aborted);
  }
}
