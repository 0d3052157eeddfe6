/** What is asked for again and again while somebody looks. */
import { type Signal, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { Problem, inWords, isAbort } from "./api.js";

/** The last answer, kept while the gateway is away, and what went wrong since. */
export interface Polled<Value> {
  readonly value: Value | null;
  readonly problem: Problem | null;
  /** When `value` came, in milliseconds since 1970. */
  readonly at: number | null;
}

export interface Poll<Value> {
  readonly state: Signal<Polled<Value>>;
  /** Asks at once. */
  refresh(): void;
}

/** How much longer each wait gets while nothing answers, and at most, in milliseconds. */
const LONGEST_WAIT = 15_000;
const BLANK: Polled<never> = { value: null, problem: null, at: null };

/**
 * Asks `ask` every `seconds`, never twice at once, not while the tab is hidden, and forgets the answer when `key`
 * changes. A `key` of null asks nothing; `seconds` of 0 asks once.
 */
export function usePoll<Value>(
  key: string | null,
  seconds: number,
  ask: (signal: AbortSignal) => Promise<Value>,
): Poll<Value> {
  const state = useSignal<Polled<Value>>(BLANK);
  const latest = useRef(ask);
  latest.current = ask;
  const again = useRef<() => void>(() => undefined);
  useEffect(() => {
    state.value = BLANK;
    if (key === null) return;
    return poll(state, seconds, (signal) => latest.current(signal), again);
  }, [key, seconds]);
  return { state, refresh: () => again.current() };
}

function poll<Value>(
  state: Signal<Polled<Value>>,
  seconds: number,
  ask: (signal: AbortSignal) => Promise<Value>,
  again: { current: () => void },
): () => void {
  const stop = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let asking = false;
  let repeat = false;
  let failures = 0;
  const run = async (): Promise<void> => {
    clearTimeout(timer);
    if (asking) {
      repeat = true;
      return;
    }
    asking = true;
    repeat = false;
    try {
      const value = await ask(stop.signal);
      failures = 0;
      if (!stop.signal.aborted) state.value = { value, problem: null, at: Date.now() };
    } catch (error) {
      if (stop.signal.aborted || isAbort(error)) return;
      failures += 1;
      state.value = { ...state.value, problem: toProblem(error) };
    } finally {
      asking = false;
      if (!stop.signal.aborted) next();
    }
  };
  const next = (): void => {
    if (repeat) return void run();
    const wait = failures === 0 ? seconds * 1000 : Math.min(LONGEST_WAIT, 1000 * 2 ** failures);
    if (seconds === 0 && failures === 0) return;
    // A tab that nobody sees asks for nothing; once it is seen it asks at once.
    timer = setTimeout(() => {
      if (!document.hidden) void run();
    }, wait);
  };
  const seen = (): void => {
    if (!document.hidden && (seconds > 0 || failures > 0)) void run();
  };
  document.addEventListener("visibilitychange", seen);
  again.current = () => void run();
  void run();
  return () => {
    stop.abort();
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", seen);
    again.current = () => undefined;
  };
}

function toProblem(error: unknown): Problem {
  return error instanceof Problem ? error : new Problem(0, "internal", inWords(error));
}
