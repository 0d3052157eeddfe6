/** The nodes of the gateway, as `GET /v1/nodes` tells of them. */
import { call } from "./api.js";

export interface Node {
  readonly node: string;
  /** Of the host or container. */
  readonly name: string;
  readonly version: string;
  readonly started: number;
  readonly connections: number;
  readonly subscriptions: number;
  /** A digest of what its streams capture. */
  readonly streams: string;
  readonly silent_seconds: number;
  /** These are null from nodes of a version that doesn't tell. */
  readonly status?: string | null;
  readonly reasons?: readonly string[] | null;
  readonly away?: readonly string[] | null;
  readonly lag_ms?: number | null;
  readonly memory_bytes?: number | null;
}

export interface Nodes {
  readonly nodes: readonly Node[];
  readonly complete: boolean;
}

export function listNodes(signal: AbortSignal): Promise<Nodes> {
  return call<Nodes>("v1/nodes", { signal });
}
