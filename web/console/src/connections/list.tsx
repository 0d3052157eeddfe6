/** The list of connections and what narrows it; both are in the address. */
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { listNodes } from "../gateway/nodes.js";
import { usePoll } from "../gateway/poll.js";
import { now } from "../gateway/session.js";
import { place, setParameters } from "../router.js";
import { count, duration, size } from "../ui/format.js";
import { Field, Meter, Narrowing } from "../ui/parts.js";
import { type Column, Table, numbers } from "../ui/table.js";
import { type Connection, type Listing, type Wanted, isSlow, matching } from "./connections.js";

export function wantedOf(parameters: URLSearchParams): Wanted {
  const get = (name: string): string => parameters.get(name) ?? "";
  return { subject: get("subject"), address: get("address"), node: get("node"), slow: get("slow") === "yes" };
}

export function List({ listing, selected }: { listing: Listing; selected: string | null }): JSX.Element {
  const wanted = wantedOf(place.value.parameters);
  const rows = useMemo(
    () => matching(listing.connections, wanted),
    [listing.connections, wanted.subject, wanted.address, wanted.node, wanted.slow],
  );
  return (
    <>
      <Filters wanted={wanted} shown={rows.length} of={listing.connections.length} />
      <Table
        label="Connections, those with most waiting first"
        rows={rows}
        columns={COLUMNS}
        id={(each) => each.session}
        sort="-waiting"
        selected={selected}
        onSelect={(each) => setParameters({ session: each.session })}
        mark={(each) => ((each.fill ?? 0) >= 0.8 ? "bad" : isSlow(each) ? "warn" : undefined)}
        empty={listing.connections.length === 0 ? "Nobody is connected." : "No connection matches."}
      />
    </>
  );
}

const COLUMNS: readonly Column<Connection>[] = [
  {
    id: "subject",
    title: "Subject",
    width: "minmax(6rem, 2fr)",
    cell: (each) => each.subject ?? <span class="muted">anonymous</span>,
    order: (each) => each.subject,
  },
  {
    id: "peer",
    title: "Address",
    width: "minmax(7rem, 2fr)",
    kind: "code",
    cell: (each) => each.peer,
    order: (each) => each.peer,
  },
  {
    id: "transport",
    title: "Transport",
    width: "6rem",
    wide: true,
    cell: (each) => each.transport,
    order: (each) => each.transport,
  },
  {
    id: "node",
    title: "Node",
    width: "6.5rem",
    kind: "code",
    wide: true,
    cell: (each) => each.node,
    order: (each) => each.node,
  },
  numbers({
    id: "age",
    title: "For",
    width: "5rem",
    wide: true,
    of: (each) => -each.connected,
    cell: (each) => duration(Math.max(0, now.value - each.connected)),
  }),
  numbers({ id: "subscriptions", title: "Filters", width: "4.2rem", wide: true, of: (each) => each.subscriptions }),
  numbers({
    id: "blocked",
    title: "Takes nothing",
    width: "6.5rem",
    wide: true,
    of: (each) => each.blocked_ms,
    cell: (each) => (each.blocked_ms == null ? "" : `for ${duration(each.blocked_ms)}`),
  }),
  numbers({
    id: "waiting",
    title: "Outbox",
    width: "9.5rem",
    of: (each) => (each.fill ?? 0) * 1e12 + each.waiting_bytes,
    cell: (each) =>
      each.waiting_messages === 0 ? (
        "0"
      ) : (
        <Meter
          part={each.fill ?? 0}
          whole={1}
          label={`${count(each.waiting_messages)} · ${size(each.waiting_bytes)}`}
        />
      ),
  }),
];

function Filters({ wanted, shown, of }: { wanted: Wanted; shown: number; of: number }): JSX.Element {
  const nodes = usePoll("nodes", 15, listNodes).state.value.value?.nodes ?? [];
  return (
    <form
      class="line-form filters"
      role="search"
      aria-label="Filter connections"
      onSubmit={(event) => event.preventDefault()}
    >
      <Narrowing label="Subject" name="subject" />
      <Narrowing label="Address begins with" name="address" />
      <Field label="Node">
        {(given) => (
          <select
            {...given}
            value={wanted.node}
            onChange={(event) => setParameters({ node: event.currentTarget.value })}
          >
            <option value="">All</option>
            {nodes.map((node) => (
              <option key={node.node} value={node.node}>
                {node.name} ({node.node})
              </option>
            ))}
          </select>
        )}
      </Field>
      <label class="check level-with-controls">
        <input
          type="checkbox"
          checked={wanted.slow}
          onChange={(event) => setParameters({ slow: event.currentTarget.checked ? "yes" : null })}
        />
        only slow ones
      </label>
      <span class="muted level-with-controls" role="status">
        {shown === of ? "" : `${count(shown)} of ${count(of)}`}
      </span>
    </form>
  );
}
