/** The topics that were seen, as a tree with rates. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { count, duration, plural } from "../ui/format.js";
import { oneLine } from "../ui/message.js";
import { type Column, Table } from "../ui/table.js";
import type { ViewProps } from "./messages_view.js";
import { tail } from "./tail.js";
import type { Level } from "./tree.js";

/** What the counts lack. */
function missed(gaps: number): string {
  return gaps === 0 ? "" : `; ${plural(gaps, "gap")} in it tell${gaps === 1 ? "s" : ""} of messages that it has not`;
}

export function TreeView({
  filters,
  selected,
  onSelect,
  onNarrow,
}: ViewProps & { onNarrow: (filter: string) => void }): JSX.Element {
  const [closed, setClosed] = useState<ReadonlySet<string>>(new Set());
  const [opened, setOpened] = useState<ReadonlySet<string>>(new Set());
  // The first levels are open unless closed by hand, what is below only if opened by hand.
  const isOpen = (level: Level): boolean => (level.depth < 2 ? !closed.has(level.path) : opened.has(level.path));
  const toggle = (level: Level): void => {
    const [set, change] = level.depth < 2 ? ([closed, setClosed] as const) : ([opened, setOpened] as const);
    const next = new Set(set);
    if (!next.delete(level.path)) next.add(level.path);
    change(next);
  };
  const time = Date.now();
  const columns: Column<Level>[] = [
    {
      id: "level",
      title: "Topic",
      width: "minmax(10rem, 3fr)",
      kind: "code",
      cell: (level) => (
        <span class="level" style={{ paddingLeft: `${level.depth * 1.1}rem` }}>
          {level.children.size > 0 ? (
            <button
              type="button"
              class="twist"
              tabIndex={-1}
              aria-expanded={isOpen(level)}
              aria-label={`${isOpen(level) ? "Close" : "Open"} ${level.path}`}
              onClick={() => toggle(level)}
            >
              {isOpen(level) ? "▾" : "▸"}
            </button>
          ) : (
            <span class="twist" />
          )}
          {level.name === "" ? "(empty)" : level.name}
        </span>
      ),
    },
    { id: "rate", title: "A second", width: "5.5rem", kind: "number", cell: (level) => level.rate(time).toFixed(1) },
    { id: "count", title: "Seen", width: "5.5rem", kind: "number", wide: true, cell: (level) => count(level.count) },
    {
      id: "last",
      title: "Last",
      width: "5.5rem",
      kind: "number",
      wide: true,
      cell: (level) => (level.last === null ? "" : duration(Math.max(0, time - level.last.time))),
    },
    {
      id: "body",
      title: "Newest",
      width: "minmax(6rem, 3fr)",
      kind: "code",
      wide: true,
      cell: (level) =>
        level.last === null ? "" : oneLine(level.last.data, level.last.contentType, level.last.deleted),
    },
    {
      id: "narrow",
      title: "Only this",
      untitled: true,
      width: "4.5rem",
      cell: (level) => (
        <button
          type="button"
          class="quiet"
          tabIndex={-1}
          aria-label={`Only ${level.path}`}
          onClick={() => onNarrow(level.children.size > 0 ? `${level.path}/#` : level.path)}
        >
          Only
        </button>
      ),
    },
  ];
  return (
    <div
      class="fill"
      onKeyDown={(event) => {
        // The buttons are reached by these keys instead of by many tab stops.
        if (event.key !== "ArrowRight" && event.key !== "ArrowLeft") return;
        const path = (event.target as Element)
          .closest("[role=row]")
          ?.querySelector(`button.twist[aria-expanded=${event.key === "ArrowLeft"}]`);
        if (path instanceof HTMLElement) path.click();
      }}
    >
      <Table
        label="Topics seen"
        rows={tail.tree.visible(isOpen)}
        columns={columns}
        id={(level) => level.path}
        selected={selected}
        onSelect={(level) => level.last !== null && onSelect(level.path, level.last)}
        empty={filters.length === 0 ? "Subscribe to a filter to see its topics here." : "Nothing has arrived yet."}
      />
      <p class="hint">
        Counts and rates are of what this page has got since it subscribed{missed(tail.feed.gaps)}.
      </p>
      {tail.tree.full && (
        <p class="hint">
          More topics come than are shown here ({count(tail.tree.levels)} levels): the rest counts for the levels above.
        </p>
      )}
    </div>
  );
}
