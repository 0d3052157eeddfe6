/** Hooks and what became of their deliveries, as docs/webhooks.md tells. */
import { call, path } from "../gateway/api.js";
import type { Declaration } from "./signing.js";

/** How many deliveries are listed at most. */
const MOST = 500;

export interface Hook {
  readonly name: string;
  readonly scheme: string;
  /** Who sends to it, where a preset tells. */
  readonly sender: string | null;
  readonly topic: string;
}

export interface Delivery {
  /** The node that took it, and numbered it. */
  readonly node: string;
  readonly number: number;
  readonly time: number;
  readonly verdict: "published" | "repeated" | "ignored" | "answered" | "refused" | "replayed";
  readonly address?: string;
  readonly size: number;
  readonly delivery_id?: string;
  readonly topic?: string;
  readonly reason?: string;
  readonly detail?: string;
  readonly id?: string;
  readonly stream?: string;
  readonly offset?: number;
}

export async function listHooks(signal: AbortSignal): Promise<readonly Hook[]> {
  return (await call<{ hooks: readonly Hook[] }>("v1/hooks", { signal })).hooks;
}

/** What a hook is told to do: its preset's part and the settings'. */
export async function readDeclaration(hook: string, signal: AbortSignal): Promise<Declaration> {
  return (await call<{ declaration: Declaration }>(path("hooks", hook, "declaration"), { signal })).declaration;
}

export interface Deliveries {
  readonly deliveries: readonly Delivery[];
  /** Nodes that have not answered. */
  readonly missing: readonly string[];
}

/** The last ones of all nodes, the newest first. */
export function listDeliveries(hook: string, signal: AbortSignal): Promise<Deliveries> {
  return call<Deliveries>(path("hooks", hook, "deliveries"), { query: { limit: MOST }, signal });
}

export function replay(hook: string, { node, number }: Delivery): Promise<{ id: string }> {
  return call(path("hooks", hook, "deliveries", number, "replay"), { method: "POST", query: { node } });
}
