/**
 * A table of any length: only the lines in sight are in the page. One tab stop; arrow keys, Page Up and Down, Home and
 * End go through the lines, Enter opens one. Where lines come in above, what is read stays where it is.
 */
import type { ComponentChildren, JSX, TargetedEvent, TargetedKeyboardEvent } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { count } from "./format.js";

export interface Column<Row> {
  readonly id: string;
  readonly title: string;
  /** A track of CSS grid: `8rem`, `minmax(6rem, 1fr)`. */
  readonly width: string;
  readonly cell: (row: Row) => ComponentChildren;
  /** By what the line is sorted; without it the column can't be sorted by. */
  readonly order?: (row: Row) => number | string | null;
  /** The title is for screen readers only. */
  readonly untitled?: boolean;
  readonly kind?: "text" | "code" | "number";
  /** Left out where the page is narrow. */
  readonly wide?: boolean;
}

interface Numbers<Row> extends Pick<Column<Row>, "id" | "title" | "width" | "wide"> {
  readonly of: (row: Row) => number | null | undefined;
  /** As people read it; `count` unless told otherwise. */
  readonly write?: (value: number | null | undefined) => ComponentChildren;
  /** In place of `write` where it takes more than the number. */
  readonly cell?: (row: Row) => ComponentChildren;
}

/** A column of numbers, which the lines can be sorted by. */
export function numbers<Row>({ of, write = count, ...column }: Numbers<Row>): Column<Row> {
  return { kind: "number", cell: (row) => write(of(row)), order: (row) => of(row) ?? null, ...column };
}

export interface TableProps<Row> {
  readonly label: string;
  readonly rows: readonly Row[];
  readonly columns: readonly Column<Row>[];
  readonly id: (row: Row) => string;
  readonly empty: ComponentChildren;
  readonly selected?: string | null;
  readonly onSelect?: (row: Row) => void;
  readonly mark?: (row: Row) => string | undefined;
  /** The column sorted by at first, with a `-` in front for the largest first. */
  readonly sort?: string;
  /** Height: `fill` takes what the room leaves, `fit` as much as there are lines, up to a bound. */
  readonly height?: "fill" | "fit";
  readonly onEnd?: () => void;
}

const LINE = 30;
const AHEAD = 6;

export function Table<Row>(props: TableProps<Row>): JSX.Element {
  const { columns, id, selected = null, onSelect, height = "fill" } = props;
  const [sort, setSort] = useState(props.sort ?? "");
  const rows = useMemo(() => sorted(props.rows, columns, sort), [props.rows, columns, sort]);
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 600 });
  const [active, setActive] = useState<string | null>(null);
  const wantsFocus = useRef(false);
  const top = useRef<{ key: string; offset: number } | null>(null);

  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    const measure = (): void => setView({ top: element.scrollTop, height: element.clientHeight });
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  // Keeps in place what is read, where lines came in above it.
  useLayoutEffect(() => {
    const element = box.current;
    const kept = top.current;
    if (element === null || kept === null || element.scrollTop < LINE) return;
    const index = rows.findIndex((row) => id(row) === kept.key);
    if (index >= 0) element.scrollTop = index * LINE + kept.offset;
  }, [rows]);

  useLayoutEffect(() => {
    if (!wantsFocus.current) return;
    wantsFocus.current = false;
    box.current?.querySelector<HTMLElement>("[role=row][tabindex='0']")?.focus({ preventScroll: true });
  });

  const remember = (scrolled: number): void => {
    const index = Math.floor(scrolled / LINE);
    const row = rows[index];
    top.current = row === undefined ? null : { key: id(row), offset: scrolled - index * LINE };
  };
  const onScroll = (event: TargetedEvent<HTMLDivElement>): void => {
    const { scrollTop, clientHeight, scrollHeight } = event.currentTarget;
    remember(scrollTop);
    setView({ top: scrollTop, height: clientHeight });
    if (props.onEnd !== undefined && scrollHeight - scrollTop - clientHeight < 20 * LINE) props.onEnd();
  };

  const reachable = active ?? selected;
  let activeIndex = reachable === null ? 0 : rows.findIndex((row) => id(row) === reachable);
  if (activeIndex < 0) activeIndex = 0;
  const moveTo = (index: number): void => {
    const row = rows[Math.max(0, Math.min(rows.length - 1, index))];
    const element = box.current;
    if (row === undefined || element === null) return;
    const place = rows.indexOf(row) * LINE;
    if (place < element.scrollTop) element.scrollTop = place;
    else if (place + 2 * LINE > element.scrollTop + element.clientHeight)
      element.scrollTop = place + 2 * LINE - element.clientHeight;
    remember(element.scrollTop);
    setView({ top: element.scrollTop, height: element.clientHeight });
    wantsFocus.current = true;
    setActive(id(row));
    if (selected !== null) onSelect?.(row);
  };
  const onKeyDown = (event: TargetedKeyboardEvent<HTMLDivElement>): void => {
    if (!(event.target instanceof HTMLElement) || event.target.closest("[role=row][aria-rowindex]") === null) return;
    if (event.target.closest("button, a, input, select") !== null) return;
    const page = Math.max(1, Math.floor(view.height / LINE) - 2);
    const steps: Record<string, number> = {
      ArrowDown: 1,
      ArrowUp: -1,
      PageDown: page,
      PageUp: -page,
      Home: -rows.length,
      End: rows.length,
    };
    const step = steps[event.key];
    const row = rows[activeIndex];
    if (step !== undefined) moveTo(activeIndex + step);
    else if ((event.key === "Enter" || event.key === " ") && row !== undefined && onSelect !== undefined) onSelect(row);
    else return;
    event.preventDefault();
  };

  const first = Math.max(0, Math.min(Math.floor(view.top / LINE) - AHEAD, rows.length - 1));
  const last = Math.min(rows.length, Math.ceil((view.top + view.height) / LINE) + AHEAD);
  const indexes = new Set<number>(Array.from({ length: Math.max(0, last - first) }, (_, index) => first + index));
  // What has the focus stays in the page, or the keyboard would lose its place.
  if (activeIndex < rows.length) indexes.add(activeIndex);
  const style = {
    "--tracks": tracks(columns, false),
    "--narrow-tracks": tracks(columns, true),
    "--lines": String(rows.length),
  };

  return (
    <div
      class={`table table-${height}`}
      role={onSelect === undefined ? "table" : "grid"}
      aria-label={props.label}
      aria-rowcount={rows.length + 1}
      style={style}
      ref={box}
      onScroll={onScroll}
      onKeyDown={onKeyDown}
      // A region that scrolls must be reachable by the keyboard also where nothing in it is.
      tabIndex={onSelect === undefined || rows.length === 0 ? 0 : -1}
    >
      <div role="rowgroup" class="head">
        <div role="row" class="line" aria-rowindex={1}>
          {columns.map((column) => (
            <Heading key={column.id} column={column} sort={sort} onSort={setSort} />
          ))}
        </div>
      </div>
      <div role="rowgroup" class="lines" style={{ height: `${rows.length * LINE}px` }}>
        {[...indexes].sort(ascending).map((index) => {
          const row = rows[index] as Row;
          const key = id(row);
          return (
            <div
              key={key}
              role="row"
              aria-rowindex={index + 2}
              aria-selected={onSelect === undefined ? undefined : key === selected}
              class={`line ${props.mark?.(row) ?? ""}`}
              tabIndex={onSelect === undefined ? undefined : index === activeIndex ? 0 : -1}
              style={{ transform: `translateY(${index * LINE}px)` }}
              onClick={
                onSelect === undefined
                  ? undefined
                  : (event) => {
                      if (event.target instanceof Element && event.target.closest("button, a, input") !== null) return;
                      setActive(key);
                      onSelect(row);
                    }
              }
            >
              {columns.map((column) => (
                <div
                  key={column.id}
                  role={onSelect === undefined ? "cell" : "gridcell"}
                  class={`cell cell-${column.id} ${column.kind ?? "text"} ${column.wide === true ? "wide" : ""}`}
                >
                  {column.cell(row)}
                </div>
              ))}
            </div>
          );
        })}
      </div>
      {rows.length === 0 && (
        <div class="empty" role="row">
          <div role={onSelect === undefined ? "cell" : "gridcell"}>{props.empty}</div>
        </div>
      )}
    </div>
  );
}

interface HeadingProps<Row> {
  readonly column: Column<Row>;
  readonly sort: string;
  readonly onSort: (sort: string) => void;
}

function Heading<Row>({ column, sort, onSort }: HeadingProps<Row>): JSX.Element {
  const descending = sort === `-${column.id}`;
  const direction = descending ? "descending" : sort === column.id ? "ascending" : "none";
  const classes = `cell cell-${column.id} ${column.kind ?? "text"} ${column.wide === true ? "wide" : ""}`;
  if (column.order === undefined) {
    return (
      <div role="columnheader" class={classes}>
        {column.untitled === true ? <span class="hidden">{column.title}</span> : column.title}
      </div>
    );
  }
  return (
    <div role="columnheader" class={classes} aria-sort={direction}>
      <button type="button" class="sort" onClick={() => onSort(descending ? column.id : `-${column.id}`)}>
        {column.title}
        <span aria-hidden="true">{direction === "none" ? "" : descending ? " ↓" : " ↑"}</span>
      </button>
    </div>
  );
}

function sorted<Row>(rows: readonly Row[], columns: readonly Column<Row>[], sort: string): readonly Row[] {
  const order = columns.find((column) => column.id === sort.replace(/^-/, ""))?.order;
  if (order === undefined) return rows;
  const sign = sort.startsWith("-") ? -1 : 1;
  return [...rows].sort((one, other) => sign * compare(order(one), order(other)));
}

// What nobody knows is the least.
function compare(one: number | string | null, other: number | string | null): number {
  if (one === other) return 0;
  if (one === null) return -1;
  if (other === null) return 1;
  return one < other ? -1 : 1;
}

function tracks<Row>(columns: readonly Column<Row>[], narrow: boolean): string {
  return columns
    .filter((column) => !(narrow && column.wide === true))
    .map((column) => column.width)
    .join(" ");
}

function ascending(one: number, other: number): number {
  return one - other;
}
