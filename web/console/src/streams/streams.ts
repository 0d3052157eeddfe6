/** Streams and their messages, as docs/http.md tells of them. */
import { call, path } from "../gateway/api.js";
import type { WireMessage } from "../ui/message.js";

/** Of one that may be read in part only, figures that tell of the rest are null. */
export interface Stream {
  readonly name: string;
  readonly filter: string;
  readonly epoch: string;
  readonly first: number;
  readonly last: number;
  readonly messages: number | null;
  readonly bytes: number | null;
  readonly first_time: number | null;
  readonly last_time: number | null;
  readonly oldest_age_ms: number | null;
  readonly groups?: readonly string[];
  /** By which filters whoever is signed in may read it: its own where that is all of it. */
  readonly readable?: readonly string[];
  readonly max_messages: number | null;
  readonly max_bytes: number | null;
  readonly max_age: number | null;
  readonly dedupe_window: number | null;
  readonly last_values?: boolean | null;
  readonly last_values_kept?: number | null;
}

export interface Read {
  readonly epoch: string;
  readonly first: number;
  readonly last: number;
  readonly next: number;
  readonly messages: readonly (WireMessage & { readonly offset: number })[];
  readonly gap?: { readonly reason: string; readonly from?: number; readonly to?: number } | null;
}

export interface TopicOf {
  readonly topic: string;
  readonly first: number;
  readonly last: number;
  readonly time: number;
  readonly last_value: boolean;
}

export async function listStreams(signal: AbortSignal): Promise<readonly Stream[]> {
  return (await call<{ streams: readonly Stream[] }>("v1/console/streams", { signal })).streams;
}

/** The filters by which somebody reads it who hasn't said one: "" for all of it. */
export function readableBy({ filter, readable = [filter] }: Stream): readonly string[] {
  return readable.length === 0 || readable.includes(filter) ? [""] : readable;
}

export interface Reading {
  readonly from: string;
  readonly filter: string;
  readonly limit: number;
  readonly epoch?: string;
}

export function readStream(
  stream: string,
  { from, filter, limit, epoch }: Reading,
  signal: AbortSignal,
): Promise<Read> {
  return call<Read>(path("streams", stream, "messages"), { query: { from, filter, limit, epoch }, signal });
}

export function readTopics(
  stream: string,
  filter: string,
  after: string | null,
  signal: AbortSignal,
): Promise<{ topics: readonly TopicOf[]; next: string | null }> {
  return call(path("streams", stream, "topics"), { query: { filter, after, limit: 1000 }, signal });
}
