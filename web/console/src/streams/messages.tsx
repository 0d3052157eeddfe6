/** Reading a stream at an offset or a time. */
import { filterProblem } from "@fanout-gateway/client";
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { usePoll } from "../gateway/poll.js";
import { place, setParameters } from "../router.js";
import { count, moment, plural, size } from "../ui/format.js";
import { MessageView, bytesOf, fromWire, oneLine } from "../ui/message.js";
import { Answer, Card, Field, Inspector, Notice } from "../ui/parts.js";
import { type Column, Table } from "../ui/table.js";
import { type Read, type Stream, readStream, readableBy } from "./streams.js";

type Message = Read["messages"][number];

const PER_PAGE = 200;
const NEWEST = `last:${PER_PAGE}`;
const STARTS = [
  [NEWEST, "The newest"],
  ["earliest", "The oldest"],
  ["offset", "An offset"],
  ["time", "A time"],
] as const;

const COLUMNS: readonly Column<Message>[] = [
  { id: "offset", title: "Offset", width: "6rem", kind: "number", cell: ({ offset }) => count(offset) },
  { id: "time", title: "Time", width: "10rem", wide: true, kind: "number", cell: ({ time }) => moment(time) },
  { id: "topic", title: "Topic", width: "minmax(7rem, 2fr)", kind: "code", cell: ({ topic }) => topic },
  {
    id: "body",
    title: "Body",
    width: "minmax(7rem, 4fr)",
    kind: "code",
    cell: (message) => oneLine(fromWire(message).data, message.content_type, message.deleted),
  },
  {
    id: "size",
    title: "Size",
    width: "5rem",
    kind: "number",
    wide: true,
    cell: (message) => size(bytesOf(fromWire(message))),
  },
];

export function MessagesOf({ stream }: { stream: Stream }): JSX.Element {
  const { parameters } = place.value;
  const from = parameters.get("from") || NEWEST;
  const filter = parameters.get("filter") || (readableBy(stream)[0] ?? "");
  const [chosen, setChosen] = useState<Message | null>(null);
  const inspector = useRef<HTMLDivElement>(null);
  const poll = usePoll(`${stream.name} ${from} ${filter}`, 0, (signal) =>
    readStream(stream.name, { from, filter, limit: PER_PAGE }, signal),
  );
  useEffect(() => setChosen(null), [stream.name, from, filter]);
  return (
    <div class="split">
      <Card label="Messages" class="feed">
        <Where from={from} filter={filter} onRefresh={poll.refresh} />
        <Answer of={poll.state.value}>
          {(read) => (
            <div class="fill">
              {read.gap !== undefined && read.gap !== null && <Notice kind="warn">{gapInWords(read.gap)}</Notice>}
              <Table
                label="Messages of the stream, by offset"
                rows={read.messages}
                columns={COLUMNS}
                id={({ offset }) => String(offset)}
                selected={chosen === null ? null : String(chosen.offset)}
                onSelect={(message) => {
                  setChosen(message);
                  inspector.current?.scrollIntoView({ block: "nearest" });
                }}
                empty="Nothing is here that matches."
              />
              <Pager read={read} />
            </div>
          )}
        </Answer>
      </Card>
      <div class="aside">
        <Inspector box={inspector} empty="Choose a message from the list.">
          {chosen && <MessageView message={fromWire(chosen)} />}
        </Inspector>
      </div>
    </div>
  );
}

function Pager({ read }: { read: Read }): JSX.Element {
  const first = read.messages[0]?.offset ?? read.next;
  return (
    <div class="submit">
      <span class="muted push">
        {plural(read.messages.length, "message")}; the stream holds offsets {count(read.first)} to {count(read.last)}
      </span>
      <button
        type="button"
        disabled={first <= read.first}
        onClick={() => setParameters({ from: String(Math.max(read.first, first - PER_PAGE)) })}
      >
        Older
      </button>
      <button type="button" disabled={read.next > read.last} onClick={() => setParameters({ from: String(read.next) })}>
        Newer
      </button>
    </div>
  );
}

function kindOf(from: string): string {
  if (from.startsWith("last:")) return NEWEST;
  if (from.startsWith("time:")) return "time";
  return from === "earliest" ? "earliest" : "offset";
}

function Where({ from, filter, onRefresh }: { from: string; filter: string; onRefresh: () => void }): JSX.Element {
  const kind = kindOf(from);
  const [asked, setAsked] = useState(kind);
  const [offset, setOffset] = useState(kind === "offset" ? from : "");
  const [time, setTime] = useState(kind === "time" ? toLocal(Number(from.slice(5))) : "");
  const [wanted, setWanted] = useState(filter);
  const [problem, setProblem] = useState<string | null>(null);
  useEffect(() => {
    setAsked(kind);
    if (kind === "offset") setOffset(from);
  }, [from]);
  const submit = (): void => {
    const wrong = wanted === "" ? null : filterProblem(wanted);
    setProblem(wrong);
    if (wrong !== null) return;
    let start = asked;
    if (asked === "offset") start = /^[1-9]\d{0,15}$/.test(offset) ? offset : "1";
    if (asked === "time") start = `time:${time === "" ? 0 : new Date(time).getTime()}`;
    if (start === from && wanted === filter) onRefresh();
    else setParameters({ from: start, filter: wanted });
  };
  return (
    <form
      class="line-form"
      noValidate
      aria-label="Where to read"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      <Field label="Read">
        {(given) => (
          <select {...given} value={asked} onChange={(event) => setAsked(event.currentTarget.value)}>
            {STARTS.map(([value, title]) => (
              <option key={value} value={value}>
                {title}
              </option>
            ))}
          </select>
        )}
      </Field>
      {asked === "offset" && (
        <Field label="Offset">
          {(given) => (
            <input
              {...given}
              inputMode="numeric"
              value={offset}
              onInput={(event) => setOffset(event.currentTarget.value)}
            />
          )}
        </Field>
      )}
      {asked === "time" && (
        <Field label="Time">
          {(given) => (
            <input
              {...given}
              type="datetime-local"
              step="1"
              value={time}
              onInput={(event) => setTime(event.currentTarget.value)}
            />
          )}
        </Field>
      )}
      <Field label="Topic filter" class="grow" problem={problem}>
        {(given) => (
          <input
            {...given}
            spellcheck={false}
            placeholder="all topics"
            value={wanted}
            onInput={(event) => setWanted(event.currentTarget.value)}
          />
        )}
      </Field>
      <button type="submit" class="primary">
        Read
      </button>
    </form>
  );
}

function gapInWords(gap: NonNullable<Read["gap"]>): string {
  if (gap.reason === "epoch") return "The log is another one than the one asked for: offsets may mean other messages.";
  const what = gap.reason === "purged" ? "were purged" : "have gone by age or size";
  return `Offsets ${count(gap.from)} to ${count(gap.to)} ${what}.`;
}

function toLocal(time: number): string {
  return new Date(time - new Date(time).getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}
