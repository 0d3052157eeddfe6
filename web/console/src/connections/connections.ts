/** The connections of all nodes, as many as a page can list. */
import { call } from "../gateway/api.js";

/** As `GET /v1/connections` tells of one (docs/http.md, "Administration"). */
export interface Connection {
  readonly session: string;
  readonly node: string;
  readonly subject: string | null;
  readonly peer: string;
  readonly transport: string;
  readonly connected: number;
  readonly subscriptions: number;
  readonly waiting_messages: number;
  readonly waiting_bytes: number;
  /** How full its outbox is, from 0 to 1; null from nodes that don't say. */
  readonly fill?: number | null;
  /** For how long it has taken nothing; null: it takes. */
  readonly blocked_ms?: number | null;
}

interface Page {
  readonly connections: readonly Connection[];
  readonly next: string | null;
  readonly missing: readonly string[];
  readonly complete: boolean;
}

export interface Listing {
  readonly connections: readonly Connection[];
  /** Whether there are more than are listed. */
  readonly more: boolean;
  readonly missing: readonly string[];
  readonly complete: boolean;
}

const PER_PAGE = 1000;
export const MOST = 10_000;

/**
 * All that there are, up to `MOST`; of more those for which most waits are among them. `wanted` has the nodes list only
 * what matches, where otherwise that might not be among them: a subject is then a whole one.
 */
export async function listConnections(signal: AbortSignal, wanted: Wanted | null): Promise<Listing> {
  const only = wanted === null ? {} : { subject: wanted.subject, address: wanted.address, node: wanted.node };
  const all: Connection[] = [];
  const missing = new Set<string>();
  let complete = true;
  let after: string | null = null;
  do {
    const page: Page = await call("v1/connections", { query: { limit: PER_PAGE, after, ...only }, signal });
    all.push(...page.connections);
    for (const node of page.missing) missing.add(node);
    complete &&= page.complete;
    after = page.next;
  } while (after !== null && all.length < MOST);
  if (after !== null) {
    const slowest: Page = await call("v1/connections", { query: { limit: PER_PAGE, order: "slow", ...only }, signal });
    const listed = new Set(slowest.connections.map((each) => each.session));
    all.unshift(...slowest.connections);
    const rest = all.slice(slowest.connections.length).filter((each) => !listed.has(each.session));
    all.splice(slowest.connections.length, all.length, ...rest);
  }
  return { connections: all.slice(0, MOST), more: after !== null, missing: [...missing], complete };
}

/** How often to ask, in seconds: a long list costs the nodes more. */
export function pace(listed: number): number {
  return listed <= PER_PAGE ? 3 : 10;
}

export interface Wanted {
  readonly subject: string;
  readonly address: string;
  readonly node: string;
  readonly slow: boolean;
}

/** Whether it takes less than it is sent. */
export function isSlow(each: Connection): boolean {
  return each.waiting_messages > 0 || each.blocked_ms != null;
}

/** Those that match; an empty text matches all. */
export function matching(connections: readonly Connection[], wanted: Wanted): readonly Connection[] {
  const subject = wanted.subject.toLowerCase();
  return connections.filter(
    (each) =>
      (subject === "" || (each.subject ?? "anonymous").toLowerCase().includes(subject)) &&
      (wanted.address === "" || each.peer.startsWith(wanted.address)) &&
      (wanted.node === "" || each.node === wanted.node) &&
      (!wanted.slow || isSlow(each)),
  );
}
