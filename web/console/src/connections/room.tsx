/** Who is connected: the slow ones first, and ending or blocking them. */
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { call, path } from "../gateway/api.js";
import { usePoll } from "../gateway/poll.js";
import { beat, series } from "../gateway/statistics.js";
import { place, setParameters } from "../router.js";
import { Confirm } from "../ui/dialog.js";
import { count, duration, moment, plural, size } from "../ui/format.js";
import { Answer, Card, Facts, Notice, Room, Tag } from "../ui/parts.js";
import { BlockDialog } from "./block.js";
import { type Connection, type Listing, MOST, type Wanted, listConnections, pace } from "./connections.js";
import { Details } from "./details.js";
import { List, wantedOf } from "./list.js";

export function ConnectionsRoom(): JSX.Element {
  const [seconds, setSeconds] = useState(3);
  const [tooMany, setTooMany] = useState(false);
  const { parameters } = place.value;
  const wanted = wantedOf(parameters);
  // Of more than can be listed the nodes look for what is wanted; else the list has it already.
  const asked = useSettled(
    JSON.stringify(tooMany && (wanted.subject !== "" || wanted.address !== "" || wanted.node !== "") ? wanted : null),
  );
  const poll = usePoll(asked, seconds, async (signal) => {
    const narrowed = JSON.parse(asked) as Wanted | null;
    const listing = await listConnections(signal, narrowed);
    if (narrowed === null) setTooMany(listing.more);
    setSeconds(pace(listing.connections.length));
    return listing;
  });
  const session = parameters.get("session");
  // Here and not in the details: those go with their connection, and what was done is still to be read.
  const [ending, setEnding] = useState<Connection | null>(null);
  const [blocking, setBlocking] = useState<string | null>(null);
  const listing = poll.state.value.value;
  const chosen = listing?.connections.find((each) => each.session === session);
  return (
    <Room
      title="Connections"
      aside={<Reach listing={listing} seconds={seconds} />}
      actions={
        <button type="button" onClick={() => setBlocking("")}>
          Block a subject …
        </button>
      }
    >
      <div class={session === null ? "fill" : "split"}>
        <div class="fill">
          <Answer of={poll.state.value}>{(all) => <List listing={all} selected={session} />}</Answer>
        </div>
        {session !== null && (
          <div class="aside">
            <Card title="Connection" actions={<CloseDetails />}>
              {chosen === undefined ? (
                <p class="empty">{listing === null ? "Loading …" : "It has ended."}</p>
              ) : (
                <>
                  <Overview of={chosen} />
                  <div class="submit">
                    <button type="button" class="danger" onClick={() => setEnding(chosen)}>
                      Disconnect
                    </button>
                    {chosen.subject !== null && (
                      <button type="button" onClick={() => setBlocking(chosen.subject)}>
                        Block …
                      </button>
                    )}
                  </div>
                  <Details session={chosen.session} />
                </>
              )}
            </Card>
          </div>
        )}
      </div>
      {blocking !== null && <BlockDialog subject={blocking} onDone={poll.refresh} onClose={() => setBlocking(null)} />}
      {ending !== null && (
        <Confirm
          title="Disconnect this connection?"
          action="Disconnect"
          dangerous
          onClose={() => setEnding(null)}
          perform={async () => {
            await call(path("connections", ending.session), { method: "DELETE" });
            poll.refresh();
            return "It has been closed with 4403; the client does not come back by itself.";
          }}
        >
          <p>
            {ending.subject ?? "Anonymous"} from <code>{ending.peer}</code> is closed with 4403. Nothing keeps its
            program from connecting anew.
          </p>
        </Confirm>
      )}
    </Room>
  );
}

function Reach({ listing, seconds }: { listing: Listing | null; seconds: number }): JSX.Element {
  void beat.value;
  const all = series.latest("connections");
  if (listing === null) return <span>…</span>;
  return (
    <>
      <span>
        {listing.more
          ? `the first ${count(MOST)} of ${all === null ? "more" : count(all)}`
          : plural(listing.connections.length, "connection")}
        , asked every {seconds} s
      </span>
      {!listing.complete && (
        <Tag kind="warn">
          {listing.missing.length === 0
            ? "perhaps not all nodes"
            : `without ${plural(listing.missing.length, "node")} that did not answer`}
        </Tag>
      )}
    </>
  );
}

/** The value once it has not changed for a moment: while somebody types nothing is asked for. */
function useSettled(value: string): string {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), 400);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}

function Overview({ of }: { of: Connection }): JSX.Element {
  return (
    <>
      {of.waiting_messages > 0 && (
        <Notice kind="warn">
          It takes less than it is sent: {plural(of.waiting_messages, "message")} wait in its outbox.
        </Notice>
      )}
      <Facts
        of={[
          ["Session", <code>{of.session}</code>],
          ["Subject", of.subject ?? "anonymous"],
          ["Address", <code>{of.peer}</code>],
          ["Node", <code>{of.node}</code>],
          ["Transport", of.transport],
          ["Connected", moment(of.connected)],
          ["Subscriptions", count(of.subscriptions)],
          [
            "Outbox",
            `${plural(of.waiting_messages, "message")}, ${size(of.waiting_bytes)}, ${Math.round((of.fill ?? 0) * 100)} % full`,
          ],
          ["Takes nothing", of.blocked_ms == null ? undefined : `for ${duration(of.blocked_ms)}`],
        ]}
      />
    </>
  );
}

function CloseDetails(): JSX.Element {
  return (
    <button
      type="button"
      class="quiet"
      aria-label="Close the connection's details"
      onClick={() => setParameters({ session: null })}
    >
      ✕
    </button>
  );
}
