/** The state of topics: the last message of each, kept current. */
import type { TopicState } from "@fanout-gateway/client";
import type { JSX } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { client, now } from "../gateway/session.js";
import { count, duration, moment } from "../ui/format.js";
import { type Shown, oneLine } from "../ui/message.js";
import { type Column, Table, numbers } from "../ui/table.js";
import type { ViewProps } from "./messages_view.js";

interface Value {
  readonly topic: string;
  readonly message: Shown & { readonly time: number };
}

const MOST_TOPICS = 10_000;

const STATE_COLUMNS: readonly Column<Value>[] = [
  {
    id: "topic",
    title: "Topic",
    width: "minmax(8rem, 2fr)",
    kind: "code",
    cell: ({ topic }) => topic,
    order: ({ topic }) => topic,
  },
  {
    id: "body",
    title: "Value",
    width: "minmax(8rem, 4fr)",
    kind: "code",
    cell: ({ message }) => oneLine(message.data, message.contentType, message.deleted),
  },
  numbers({
    id: "age",
    title: "Age",
    width: "6rem",
    of: ({ message }) => -message.time,
    cell: ({ message }) => <span title={moment(message.time)}>{duration(Math.max(0, now.value - message.time))}</span>,
  }),
];

/** The last message of each topic, kept current: what the filters' streams keep as last values, and what comes. */
export function StateView({ filters, selected, onSelect }: ViewProps): JSX.Element {
  const connection = client.value;
  const [states, setStates] = useState<readonly TopicState[]>([]);
  const [, redraw] = useState(0);
  const wanted = filters.join("\n");
  useEffect(() => {
    if (connection === null) return;
    const made = filters.map((filter) => connection.state(filter, { maxTopics: MOST_TOPICS }));
    const offs = made.map((state) => state.subscribe(later(() => redraw((times) => times + 1))));
    setStates(made);
    return () => {
      for (const off of offs) off();
      for (const state of made) void state.close().catch(() => undefined);
    };
  }, [connection, wanted]);
  const snapshots = states.map((state) => state.getSnapshot());
  const rows = useMemo(() => {
    const merged = new Map<string, Value>();
    for (const snapshot of snapshots) for (const [topic, message] of snapshot) merged.set(topic, { topic, message });
    return [...merged.values()];
  }, snapshots);
  const failed = states.find((state) => state.error !== null)?.error;
  const stale = states.some((state) => state.stale);
  return (
    <div class="fill">
      <p class="hint" role="status">
        {failed !== undefined && failed !== null
          ? `The state has ended: ${failed.reason}`
          : filters.length === 0
            ? ""
            : stale
              ? "Loading …"
              : `${count(rows.length)} topics, current`}
      </p>
      <Table
        label="State of topics"
        rows={rows}
        columns={STATE_COLUMNS}
        id={({ topic }) => topic}
        sort="topic"
        selected={selected}
        onSelect={({ topic, message }) => onSelect(topic, message)}
        empty={
          filters.length === 0
            ? "Subscribe to a filter to see the state of its topics here."
            : "No stream of these topics keeps last values, and nothing has arrived yet."
        }
      />
    </div>
  );
}

/** Calls `work` once for all the calls of a moment, in which a reader sees no difference. */
function later(work: () => void): () => void {
  let due = false;
  return () => {
    if (due) return;
    due = true;
    setTimeout(() => {
      due = false;
      work();
    }, 200);
  };
}
