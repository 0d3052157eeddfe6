/** The nodes: versions, how late they are, what is away, draining one. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { call, path } from "../gateway/api.js";
import { type Node, listNodes } from "../gateway/nodes.js";
import { usePoll } from "../gateway/poll.js";
import { now } from "../gateway/session.js";
import { beat, series } from "../gateway/statistics.js";
import { href, place, setParameters } from "../router.js";
import { Confirm } from "../ui/dialog.js";
import { count, duration, moment, plural, size } from "../ui/format.js";
import { Answer, Card, Facts, Notice, Room, Tag } from "../ui/parts.js";
import { type Column, Table, numbers } from "../ui/table.js";

export function NodesRoom(): JSX.Element {
  const poll = usePoll("nodes", 2, listNodes);
  const chosen = place.value.parameters.get("node");
  return (
    <Room
      title="Nodes"
      aside={<Reach nodes={poll.state.value.value?.nodes} complete={poll.state.value.value?.complete} />}
    >
      <Answer of={poll.state.value}>
        {({ nodes }) => {
          const node = nodes.find((each) => each.node === chosen) ?? (nodes.length === 1 ? nodes[0] : undefined);
          return (
            <>
              <Differences nodes={nodes} />
              <Table
                label="Nodes"
                height="fit"
                rows={nodes}
                columns={COLUMNS}
                id={(each) => each.node}
                sort="node"
                selected={node?.node ?? null}
                onSelect={(each) => setParameters({ node: each.node })}
                mark={(each) => (each.status === "ready" || each.status == null ? undefined : "warn")}
                empty="No node has answered."
              />
              {node !== undefined && <One node={node} onChange={poll.refresh} />}
            </>
          );
        }}
      </Answer>
    </Room>
  );
}

function Reach({
  nodes,
  complete,
}: {
  nodes: readonly Node[] | undefined;
  complete: boolean | undefined;
}): JSX.Element {
  if (nodes === undefined) return <span>…</span>;
  return (
    <>
      <span>{plural(nodes.length, "node")}</span>
      {complete === false && <Tag kind="warn">there may be more that this node can't hear</Tag>}
    </>
  );
}

/** What should be the same on all nodes and isn't. */
function Differences({ nodes }: { nodes: readonly Node[] }): JSX.Element {
  const versions = new Set(nodes.map((node) => node.version));
  const streams = new Set(nodes.map((node) => node.streams));
  return (
    <>
      {versions.size > 1 && (
        <Notice kind="warn">
          The nodes run {versions.size} versions: {[...versions].join(", ")}.
        </Notice>
      )}
      {streams.size > 1 && (
        <Notice kind="warn">The nodes do not capture the same streams; give all of them the same settings.</Notice>
      )}
    </>
  );
}

const STATUS: Readonly<Record<string, "good" | "warn" | "bad">> = {
  ready: "good",
  degraded: "warn",
  draining: "warn",
  starting: "warn",
};

const COLUMNS: readonly Column<Node>[] = [
  {
    id: "node",
    title: "Node",
    width: "minmax(6rem, 1fr)",
    kind: "code",
    cell: ({ node }) => node,
    order: ({ node }) => node,
  },
  { id: "name", title: "Host", width: "minmax(6rem, 1fr)", cell: ({ name }) => name, order: ({ name }) => name },
  {
    id: "status",
    title: "Status",
    width: "6.5rem",
    cell: ({ status }) => (status == null ? "" : <Tag kind={STATUS[status] ?? "bad"}>{status}</Tag>),
    order: ({ status }) => status ?? null,
  },
  {
    id: "version",
    title: "Version",
    width: "6rem",
    wide: true,
    cell: ({ version }) => version,
    order: ({ version }) => version,
  },
  numbers({
    id: "up",
    title: "Runs for",
    width: "6rem",
    wide: true,
    of: ({ started }) => -started,
    cell: ({ started }) => duration(Math.max(0, now.value - started)),
  }),
  numbers({ id: "connections", title: "Connections", width: "6.5rem", of: (each) => each.connections }),
  numbers({ id: "lag", title: "Lag", width: "5rem", wide: true, of: (each) => each.lag_ms, write: duration }),
  numbers({ id: "memory", title: "Memory", width: "6rem", wide: true, of: (each) => each.memory_bytes, write: size }),
  {
    id: "heard",
    title: "Heard",
    width: "5.5rem",
    kind: "number",
    wide: true,
    cell: (each) => (each.silent_seconds === 0 ? "now" : `${duration(each.silent_seconds * 1000)} ago`),
  },
];

function One({ node, onChange }: { node: Node; onChange: () => void }): JSX.Element {
  void beat.value;
  const figures = series.byNode[node.node] ?? {};
  return (
    <div class="columns">
      <Card title={`Node ${node.node}`} actions={<Drain node={node} onDone={onChange} />}>
        {(node.reasons ?? []).map((reason) => (
          <Notice key={reason} kind="warn">
            {reason}
          </Notice>
        ))}
        <Facts
          of={[
            ["Host", node.name],
            ["Version", node.version],
            ["Started", moment(node.started)],
            ["Connections", <a href={href(["connections"], { node: node.node })}>{count(node.connections)}</a>],
            ["Subscriptions", count(node.subscriptions)],
            ["Away", (node.away ?? []).length === 0 ? "nothing" : <Tag kind="bad">{(node.away ?? []).join(", ")}</Tag>],
          ]}
        />
      </Card>
      <Card title="Now">
        <Facts
          of={[
            ["Event loop lag", duration(figures["lag_ms"])],
            ["Fan-out, 99 %", duration(figures["fanout_p99_ms"])],
            ["Processor", figures["cpu"] == null ? undefined : `${Math.round(figures["cpu"] * 100)} % of a core`],
            ["Memory", size(figures["memory_bytes"])],
            [
              "Redis",
              figures["bus_connected"] == null ? "not used" : words(figures["bus_connected"], figures["bus_p99_ms"]),
            ],
            [
              "Store",
              figures["store_connected"] == null ? "none" : words(figures["store_connected"], figures["store_p99_ms"]),
            ],
            [
              "Waiting for Redis",
              figures["bus_waiting_bytes"] == null ? undefined : size(figures["bus_waiting_bytes"]),
            ],
            ["Waiting to be stored", figures["store_waiting"] == null ? undefined : count(figures["store_waiting"])],
          ]}
        />
      </Card>
    </div>
  );
}

function words(connected: number, latency: number | null | undefined): JSX.Element {
  if (connected === 0) return <Tag kind="bad">away</Tag>;
  return (
    <>
      <Tag kind="good">connected</Tag> {latency == null ? "" : `99 % within ${duration(latency)}`}
    </>
  );
}

function Drain({ node, onDone }: { node: Node; onDone: () => void }): JSX.Element {
  const [open, setOpen] = useState(false);
  return (
    <>
      <button type="button" class="danger" disabled={node.status === "draining"} onClick={() => setOpen(true)}>
        Drain …
      </button>
      {open && (
        <Confirm
          title={`Drain node ${node.node}?`}
          action="Drain"
          dangerous
          onClose={() => setOpen(false)}
          perform={async () => {
            await call(path("nodes", node.node, "drain"), { method: "POST" });
            onDone();
            return "It drains, and ends once its clients have gone. Whatever started it may start it anew.";
          }}
        >
          <p>
            {node.name} takes no new connections, tells its {plural(node.connections, "client")} to come back elsewhere,
            and ends. If it is the node that answers this page, the page comes back with the others.
          </p>
        </Confirm>
      )}
    </>
  );
}
