/** Messages as they come, the newest first. */
import type { Gap } from "@fanout-gateway/client";
import type { JSX } from "preact";
import { count, instant, size } from "../ui/format.js";
import { type Shown, bytesOf, oneLine } from "../ui/message.js";
import { type Column, Table } from "../ui/table.js";
import type { Entry } from "./feed.js";
import { tail } from "./tail.js";

/** What each view of the tail is given. */
export interface ViewProps {
  readonly filters: readonly string[];
  readonly selected: string | null;
  readonly onSelect: (id: string, message: Shown) => void;
}

const MESSAGE_COLUMNS: readonly Column<Entry>[] = [
  {
    id: "time",
    title: "Time",
    width: "7.2rem",
    kind: "number",
    cell: (entry) => instant(entry.kind === "gap" ? entry.receivedAt : entry.message.time),
  },
  {
    id: "topic",
    title: "Topic",
    width: "minmax(7rem, 2fr)",
    kind: "code",
    cell: (entry) => (entry.kind === "gap" ? "Gap" : entry.message.topic),
  },
  {
    id: "body",
    title: "Body",
    width: "minmax(8rem, 4fr)",
    kind: "code",
    cell: (entry) =>
      entry.kind === "gap"
        ? describeGap(entry.gap)
        : oneLine(entry.message.data, entry.message.contentType, entry.message.deleted),
  },
  {
    id: "size",
    title: "Size",
    width: "4.8rem",
    kind: "number",
    wide: true,
    cell: (entry) => (entry.kind === "gap" ? "" : size(bytesOf(entry.message))),
  },
];

export function MessagesView({ filters, selected, onSelect }: ViewProps): JSX.Element {
  return (
    <Table
      label="Messages, newest first"
      rows={tail.feed.entries}
      columns={MESSAGE_COLUMNS}
      id={(entry) => String(entry.number)}
      mark={(entry) => (entry.kind === "gap" ? "gap" : undefined)}
      selected={selected}
      onSelect={(entry) => {
        if (entry.kind === "message") onSelect(String(entry.number), entry.message);
      }}
      empty={filters.length === 0 ? "Subscribe to a filter to see messages arrive here." : "Nothing has arrived yet."}
    />
  );
}

/** A gap in a sentence. */
export function describeGap(gap: Gap): string {
  const where = gap.filter === undefined ? "" : ` on ${gap.filter}`;
  if (gap.reason === "reconnect") return `Gap${where}: the connection was away, messages may be missing`;
  const many = gap.dropped === null ? "messages may be missing" : `${count(gap.dropped)} dropped`;
  return `Gap${where} (${gap.reason}): ${many}`;
}
