/** Groups of streams, as docs/http.md tells of them. */
import { call, path } from "../gateway/api.js";
import { listStreams } from "../streams/streams.js";

export interface Group {
  readonly stream: string;
  readonly name: string;
  readonly depth: number;
  readonly in_flight: number;
  readonly delayed: number;
  readonly parked: number;
  readonly redelivered: number;
  readonly dead: number;
  readonly lost: number;
  readonly oldest_age_ms: number | null;
  readonly members: readonly { readonly name: string; readonly in_flight: number }[];
  readonly settings: Readonly<Record<string, unknown>>;
  /** Undefined where the gateway knows no pause. */
  readonly paused?: boolean;
}

export interface Whereabouts {
  readonly offset: number;
  readonly state: "waiting" | "delayed" | "parked" | "leased" | "finished" | "dead" | "gone" | "beyond" | "other";
  readonly attempts: number;
  readonly failures: readonly { readonly time: number; readonly reason: string }[];
  readonly member: string | null;
  readonly since: number | null;
  readonly due: number | null;
  readonly behind: number | null;
  readonly ahead: number | null;
  readonly waits_for: string | null;
}

/** All groups of all streams. */
export async function listGroups(signal: AbortSignal): Promise<readonly Group[]> {
  const streams = await listStreams(signal);
  const asked = streams.filter((stream) => (stream.groups ?? []).length > 0);
  const answers = await Promise.all(
    asked.map((stream) => call<{ groups: readonly Group[] }>(path("console", "streams", stream.name, "groups"), { signal })),
  );
  return answers.flatMap((answer) => answer.groups);
}

export function groupPath(group: { stream: string; name: string }, ...rest: readonly (string | number)[]): string {
  return path("streams", group.stream, "groups", group.name, ...rest);
}

/** Where a group is looked into by all who may consume from it. */
export function viewPath(group: { stream: string; name: string }, ...rest: readonly (string | number)[]): string {
  return path("console", "streams", group.stream, "groups", group.name, ...rest);
}

export function whereIs(group: Group, offset: number, signal: AbortSignal): Promise<Whereabouts> {
  return call<Whereabouts>(viewPath(group, "messages", offset), { signal });
}

export function unfinished(
  group: Group,
  state: string,
  after: number | null,
  signal: AbortSignal,
): Promise<{ messages: readonly Whereabouts[]; next: number | null }> {
  return call(viewPath(group, "messages"), { query: { state, after, limit: 500 }, signal });
}

/** Where a message is, in a sentence. */
export function inWords(found: Whereabouts, now: number, duration: (milliseconds: number) => string): string {
  const until =
    found.due === null ? "" : found.due > now ? `, for ${duration(found.due - now)} more` : ", which is over";
  switch (found.state) {
    case "waiting":
      if (found.ahead === null) return "It waits for its turn.";
      return found.ahead === 0
        ? "It is next, and waits for a member with free credit."
        : `It waits for its turn; ${found.ahead} go out before it.`;
    case "delayed":
      return `It is held back${until}, after which it waits for its turn.`;
    case "parked":
      return `It waits behind offset ${found.behind ?? "?"}, which has the same key.`;
    case "leased":
      return `${found.member ?? "A member"} has it${found.since === null ? "" : ` since ${duration(Math.max(0, now - found.since))}`}; its lease goes on${until}.`;
    case "finished":
      return "It is done: a member has acknowledged it.";
    case "dead":
      return "It is a dead letter, and waits to be sent back.";
    case "gone":
      return "Retention has taken it from the stream.";
    case "beyond":
      return "It has not been published yet.";
    case "other":
      return "It is not for this group: the group's filter does not match its topic.";
  }
}
