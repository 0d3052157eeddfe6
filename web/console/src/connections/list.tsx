/** The list of connections and what narrows it; both are in the address. */
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { listNodes } from "../gateway/nodes.js";
import { usePoll } from "../gateway/poll.js";
import { now } from "../gateway/session.js";
import { place, setParameters } from "../router.js";
import { count, duration, size } from "../ui/format.js";
import { Field, Meter } from "../ui/parts.js";
import { type Column, Table } from "../ui/table.js";
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
  {
    id: "age",
    title: "For",
    width: "5rem",
    kind: "number",
    wide: true,
    cell: (each) => duration(Math.max(0, now.value - each.connected)),
    order: (each) => -each.connected,
  },
  {
    id: "subscriptions",
    title: "Filters",
    width: "4.2rem",
    kind: "number",
    wide: true,
    cell: (each) => count(each.subscriptions),
    order: (each) => each.subscriptions,
  },
  {
    id: "blocked",
    title: "Takes nothing",
    width: "6.5rem",
    kind: "number",
    wide: true,
    cell: (each) => (each.blocked_ms == null ? "" : `for ${duration(each.blocked_ms)}`),
    order: (each) => each.blocked_ms ?? null,
  },
  {
    id: "waiting",
    title: "Outbox",
    width: "9.5rem",
    kind: "number",
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
    order: (each) => (each.fill ?? 0) * 1e12 + each.waiting_bytes,
  },
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
      <Field label="Subject" class="grow">
        {(given) => (
          <input
            {...given}
            value={wanted.subject}
            onInput={(event) => setParameters({ subject: event.currentTarget.value })}
          />
        )}
      </Field>
      <Field label="Address begins with" class="grow">
        {(given) => (
          <input
            {...given}
            value={wanted.address}
            onInput={(event) => setParameters({ address: event.currentTarget.value })}
          />
        )}
      </Field>
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
