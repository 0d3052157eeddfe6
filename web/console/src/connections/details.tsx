/** What one connection is subscribed to, where it stands, and what it may do. */
import type { JSX } from "preact";
import { call, path } from "../gateway/api.js";
import { usePoll } from "../gateway/poll.js";
import { href } from "../router.js";
import { count, moment } from "../ui/format.js";
import { Answer, Facts, Tag } from "../ui/parts.js";

/** As `GET /v1/connections/{session}` tells (docs/http.md, "Connections"). */
interface Detailed {
  readonly filters: readonly Filter[];
  readonly positions: Readonly<Record<string, { readonly epoch: string; readonly offset: number }>>;
  readonly grants: {
    readonly subscribe: readonly string[];
    readonly publish: readonly string[];
    readonly consume: readonly string[];
    readonly admin: boolean;
  };
  readonly expires: number | null;
}

interface Filter {
  readonly filter: string;
  readonly overflow: string;
  readonly state: string;
  readonly streams: readonly string[];
  readonly dropped: number;
  /** By stream, how far it has come. */
  readonly positions?: Readonly<Record<string, { readonly epoch: string; readonly offset: number }>>;
}

export function Details({ session }: { session: string }): JSX.Element {
  const poll = usePoll(session, 3, (signal) => call<Detailed>(path("connections", session), { signal }));
  return (
    <Answer of={poll.state.value}>
      {(found) => (
        <>
          <h3>Subscriptions</h3>
          {found.filters.length === 0 && <p class="muted">None.</p>}
          <ul class="plain">
            {found.filters.map((each) => (
              <li key={each.filter}>
                <a href={href(["topics"], { filter: each.filter })}>
                  <code>{each.filter}</code>
                </a>{" "}
                <Tag>{each.overflow}</Tag>{" "}
                <Tag kind={each.state === "spilled" ? "warn" : each.state === "live" ? "good" : ""}>{each.state}</Tag>
                {each.dropped > 0 && <Tag kind="bad">{count(each.dropped)} dropped</Tag>}
                {each.streams.length > 0 && (
                  <span class="muted"> from {each.streams.map((stream) => at(each, stream)).join(", ")}</span>
                )}
              </li>
            ))}
          </ul>
          {Object.keys(found.positions).length > 0 && (
            <>
              <h3>Reads on from</h3>
              <Facts
                of={Object.entries(found.positions).map(
                  ([stream, at]) =>
                    [
                      stream,
                      <a href={href(["streams", stream, "messages"], { from: String(at.offset + 1) })}>
                        {count(at.offset)}
                      </a>,
                    ] as const,
                )}
              />
            </>
          )}
          <h3>Rights</h3>
          <Facts
            of={[
              ["Subscribe", <Grants of={found.grants.subscribe} />],
              ["Publish", <Grants of={found.grants.publish} />],
              ["Consume", <Grants of={found.grants.consume} />],
              ["Admin", found.grants.admin ? "yes" : "no"],
              ["Until", found.expires === null ? "no end" : moment(found.expires)],
            ]}
          />
        </>
      )}
    </Answer>
  );
}

/** `orders @ 4,711`. */
function at(filter: Filter, stream: string): string {
  const position = filter.positions?.[stream];
  return position === undefined ? stream : `${stream} @ ${count(position.offset)}`;
}

function Grants({ of }: { of: readonly string[] }): JSX.Element {
  return of.length === 0 ? <span class="muted">nothing</span> : <code>{of.join("  ")}</code>;
}
