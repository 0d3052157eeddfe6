import type { Gap } from "@fanout-gateway/client";
import { element } from "../dom.js";
import { bodyBytes, bodyKind, preview, size } from "./body.js";
import { CAPACITY, type Entry } from "./feed.js";

type MessageEntry = Extract<Entry, { kind: "message" }>;

const clock = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  fractionalSecondDigits: 3,
  hourCycle: "h23",
});

/** The list of what arrived, newest first; one line at a time is selected, by mouse or arrow keys. */
export class MessageTable {
  readonly root: HTMLElement;
  readonly #rows: HTMLTableSectionElement;
  readonly #entries = new WeakMap<Element, MessageEntry>();
  readonly #empty: HTMLElement;
  #selected: HTMLTableRowElement | null = null;

  constructor(private readonly onSelect: (entry: MessageEntry) => void) {
    this.#rows = element("tbody");
    const heads = ["Time", "Topic", "Body", "Size"].map((title) => element("th", { scope: "col" }, title));
    const table = element(
      "table",
      { "aria-label": "Messages, newest first" },
      element("thead", {}, element("tr", {}, ...heads)),
      this.#rows,
    );
    this.#empty = element("p", { class: "empty" }, "Subscribe to a filter to see messages arrive here.");
    this.root = element("div", { class: "messages" }, table, this.#empty);
    this.#rows.addEventListener("click", (event) => this.#select(rowOf(event.target)));
    this.#rows.addEventListener("keydown", (event) => this.#move(event));
  }

  /** Puts entries on top, given oldest first, and lets go of what is then too many at the bottom. */
  prepend(entries: readonly Entry[]): void {
    if (entries.length === 0) return;
    this.#empty.hidden = true;
    const rows = document.createDocumentFragment();
    for (const entry of [...entries].reverse()) rows.append(this.#row(entry));
    this.#rows.prepend(rows);
    while (this.#rows.rows.length > CAPACITY) this.#rows.deleteRow(-1);
    // One row is always in the tab order: without a selection the newest message.
    if (this.#selected?.isConnected !== true) this.#markReachable();
  }

  clear(): void {
    this.#rows.replaceChildren();
    this.#selected = null;
    this.#empty.hidden = false;
  }

  /** What the empty list says. */
  explain(text: string): void {
    this.#empty.textContent = text;
  }

  #row(entry: Entry): HTMLTableRowElement {
    const time = element("td", { class: "time" }, clock.format(entry.receivedAt));
    if (entry.kind === "gap") {
      const told = element("td", { colspan: 3 }, describeGap(entry.gap));
      return element("tr", { class: "gap" }, time, told);
    }
    const { message } = entry;
    const kind = bodyKind(message.data, message.contentType);
    const row = element(
      "tr",
      { tabindex: -1, "aria-selected": "false" },
      time,
      element("td", { class: "topic" }, message.topic),
      element("td", { class: "body" }, preview(message.data, kind)),
      element("td", { class: "size" }, size(bodyBytes(message.data, kind))),
    );
    this.#entries.set(row, entry);
    return row;
  }

  #select(row: HTMLTableRowElement | null): void {
    const entry = row === null ? undefined : this.#entries.get(row);
    if (row === null || entry === undefined) return;
    for (const marked of this.#rows.querySelectorAll("[aria-selected='true'], [tabindex='0']")) {
      marked.setAttribute("aria-selected", "false");
      marked.setAttribute("tabindex", "-1");
    }
    row.setAttribute("aria-selected", "true");
    row.tabIndex = 0;
    this.#selected = row;
    this.onSelect(entry);
  }

  #move(event: KeyboardEvent): void {
    const row = rowOf(event.target);
    if (row === null) return;
    if (event.key === "Enter" || event.key === " ") this.#select(row);
    else if (event.key === "ArrowDown") this.#focusNext(row, "nextElementSibling");
    else if (event.key === "ArrowUp") this.#focusNext(row, "previousElementSibling");
    else return;
    event.preventDefault();
  }

  #focusNext(from: Element, direction: "nextElementSibling" | "previousElementSibling"): void {
    let next = from[direction];
    while (next !== null && !this.#entries.has(next)) next = next[direction];
    if (!(next instanceof HTMLTableRowElement)) return;
    next.focus();
    this.#select(next);
  }

  #markReachable(): void {
    for (const row of this.#rows.querySelectorAll("[tabindex='0']")) row.setAttribute("tabindex", "-1");
    this.#rows.querySelector("[tabindex]")?.setAttribute("tabindex", "0");
  }
}

function rowOf(target: EventTarget | null): HTMLTableRowElement | null {
  return target instanceof Element ? target.closest("tr") : null;
}

/** A gap in a sentence. */
export function describeGap(gap: Gap): string {
  const where = gap.filter === undefined ? "" : ` on ${gap.filter}`;
  if (gap.reason === "reconnect") return `Gap${where}: the connection was away, messages may be missing`;
  const many = gap.dropped === null ? "messages may be missing" : `${gap.dropped} dropped`;
  return `Gap${where} (${gap.reason}): ${many}`;
}
