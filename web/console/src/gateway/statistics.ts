/** The statistics of the whole gateway, kept current for as long as somebody is signed in who may see them. */
import { effect, signal } from "@preact/signals";
import { Problem, address, call, credential, inWords, isAbort } from "./api.js";
import { readEvents } from "./events.js";
import { type Past, SECONDS, Series, type Tick } from "./series.js";
import { isAdmin } from "./session.js";

export const series = new Series();
/** Changes with each second that has come: what draws from `series` reads it. */
export const beat = signal(0);
/** Why no more seconds come; null while they do. */
export const trouble = signal<string | null>(null);
/** Whether the past has been loaded. */
export const loaded = signal(false);

const LONGEST_WAIT = 15_000;
const SCOPE = "cluster";

/** Follows from now on; what is signed in with may change meanwhile. */
export function follow(): void {
  effect(() => {
    void credential.value;
    if (!isAdmin.value) return;
    const stop = new AbortController();
    void keepFollowing(stop.signal);
    return () => stop.abort();
  });
}

async function keepFollowing(stop: AbortSignal): Promise<void> {
  for (let failures = 0; !stop.aborted;) {
    await untilSeen(stop);
    const began = Date.now();
    try {
      await followOnce(stop);
      if (Date.now() - began > 5000) failures = 0;
      trouble.value = "the gateway has ended the stream of statistics";
    } catch (error) {
      if (stop.aborted || isAbort(error)) continue;
      trouble.value = inWords(error);
      // A gateway without this call, or a credential that doesn't do: only another one helps.
      if (error instanceof Problem && [403, 404].includes(error.status)) return;
    }
    if (Date.now() - began > 5000) failures = 0;
    failures += 1;
    await pause(Math.min(LONGEST_WAIT, 500 * 2 ** failures), stop);
  }
}

/** Loads the past and goes on behind it; a tab that was asleep has the same done anew, which fills its hole. */
async function followOnce(stop: AbortSignal): Promise<void> {
  const asleep = new AbortController();
  const hide = (): void => {
    if (document.hidden) asleep.abort();
  };
  document.addEventListener("visibilitychange", hide);
  const signal = AbortSignal.any([stop, asleep.signal]);
  try {
    const past = await call<Past>("v1/statistics", { query: { scope: SCOPE, seconds: SECONDS }, signal });
    series.load(past);
    loaded.value = true;
    trouble.value = null;
    beat.value += 1;
    await readEvents(address("v1/statistics/events", { scope: SCOPE, since: past.end ?? 0 }), signal, (event) => {
      if (event.name === "statistics") {
        series.add(JSON.parse(event.data) as Tick);
        trouble.value = null;
        beat.value += 1;
      } else if (event.name === "error")
        trouble.value = String((JSON.parse(event.data) as { reason?: unknown }).reason);
    });
  } finally {
    document.removeEventListener("visibilitychange", hide);
  }
}

function untilSeen(stop: AbortSignal): Promise<void> {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => {
    const seen = (): void => {
      if (document.hidden && !stop.aborted) return;
      document.removeEventListener("visibilitychange", seen);
      resolve();
    };
    document.addEventListener("visibilitychange", seen);
    stop.addEventListener("abort", seen);
  });
}

function pause(milliseconds: number, stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    stop.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
