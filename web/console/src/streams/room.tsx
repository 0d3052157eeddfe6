/** Streams: what they hold, reading them, purging them. */
import type { JSX } from "preact";
import { usePoll } from "../gateway/poll.js";
import { growth, newest } from "../gateway/series.js";
import { isAdmin } from "../gateway/session.js";
import { beat, series } from "../gateway/statistics.js";
import { go, href, place } from "../router.js";
import { count, duration, moment, short, size } from "../ui/format.js";
import { Answer, Card, Facts, Figure, Notice, Room, Tabs } from "../ui/parts.js";
import { Plot } from "../ui/plot.js";
import { type Column, Table, numbers } from "../ui/table.js";
import { MessagesOf } from "./messages.js";
import { PurgeButton } from "./purge.js";
import { type Stream, listStreams } from "./streams.js";
import { TopicsOf } from "./topics_of.js";

export function StreamsRoom(): JSX.Element {
  const poll = usePoll("streams", 5, listStreams);
  const [name, view = "state"] = place.value.rest;
  const answer = poll.state.value;
  // Who may consume from a group is told of its stream too, and can't read it.
  const readable = answer.value?.filter((each) => isAdmin.value || each.readable?.length !== 0);
  const stream = readable?.find((each) => each.name === name);
  if (stream !== undefined) return <One stream={stream} view={view} onChange={poll.refresh} />;
  return (
    <Room title="Streams">
      <Answer of={answer}>
        {() => (
          <>
            {name !== undefined && <Notice kind="warn">There is no stream {name}.</Notice>}
            <List streams={readable ?? []} />
          </>
        )}
      </Answer>
    </Room>
  );
}

function rateOf(stream: string): number | null {
  return newest(growth(series.stream(stream, "last"), series.heldTimes));
}

const COLUMNS: readonly Column<Stream>[] = [
  { id: "name", title: "Stream", width: "minmax(6rem, 2fr)", cell: ({ name }) => name, order: ({ name }) => name },
  {
    id: "filter",
    title: "Captures",
    width: "minmax(6rem, 2fr)",
    kind: "code",
    cell: ({ filter }) => filter,
    order: ({ filter }) => filter,
  },
  numbers({ id: "rate", title: "A second", width: "5.5rem", wide: true, of: ({ name }) => rateOf(name), write: short }),
  numbers({ id: "messages", title: "Messages", width: "6.5rem", of: ({ messages }) => messages }),
  numbers({ id: "bytes", title: "Size", width: "5.5rem", of: ({ bytes }) => bytes, write: size }),
  numbers({
    id: "topics",
    title: "Topics",
    width: "5rem",
    wide: true,
    of: ({ name }) => newest(series.stream(name, "topics")),
  }),
  numbers({ id: "age", title: "Oldest", width: "6rem", wide: true, of: (each) => each.oldest_age_ms, write: duration }),
  numbers({ id: "groups", title: "Groups", width: "4.5rem", wide: true, of: ({ groups }) => groups?.length ?? 0 }),
];

function List({ streams }: { streams: readonly Stream[] }): JSX.Element {
  void beat.value;
  return (
    <Table
      label="Streams"
      rows={streams}
      columns={COLUMNS}
      id={({ name }) => name}
      onSelect={({ name }) => go(href(["streams", name]))}
      empty="No stream is configured: what is published is live, and kept nowhere. See [[streams]] in the settings."
    />
  );
}

function One({ stream, view, onChange }: { stream: Stream; view: string; onChange: () => void }): JSX.Element {
  const tabs = [
    { id: "state", title: "State", href: href(["streams", stream.name]) },
    { id: "messages", title: "Messages", href: href(["streams", stream.name, "messages"]) },
    { id: "topics", title: "Topics", href: href(["streams", stream.name, "topics"]) },
  ];
  return (
    <Room
      title={stream.name}
      aside={
        <>
          <a href="#/streams">All streams</a>
          <Tabs label="View" tabs={tabs} current={view} />
        </>
      }
      actions={
        <>
          <a class="button" href={href(["topics"], { filter: stream.readable ?? stream.filter, from: "last:100" })}>
            Follow live
          </a>
          {isAdmin.value && <PurgeButton stream={stream} onDone={onChange} />}
        </>
      }
    >
      {view === "messages" && <MessagesOf stream={stream} />}
      {view === "topics" && <TopicsOf stream={stream} />}
      {view === "state" && <State stream={stream} />}
    </Room>
  );
}

function State({ stream }: { stream: Stream }): JSX.Element {
  void beat.value;
  const { name, filter, readable = [] } = stream;
  const part = readable.includes(filter) ? [] : readable;
  return (
    <>
      <div class="figures">
        <Figure name="Messages" value={count(stream.messages)} />
        <Figure name="Size" value={size(stream.bytes)} />
        {isAdmin.value && <Figure name="A second" value={short(rateOf(name))} />}
        <Figure name="Oldest" value={duration(stream.oldest_age_ms)} />
        {isAdmin.value && <Figure name="Topics" value={count(newest(series.stream(name, "topics")))} />}
      </div>
      {isAdmin.value && <Plots name={name} />}
      <div class="columns">
        <Card title="What it holds">
          <Facts
            of={[
              ["Captures", <code>{stream.filter}</code>],
              ["Epoch", <code>{stream.epoch}</code>],
              ["Offsets", `${count(stream.first)} to ${count(stream.last)}`],
              ["Oldest message", moment(stream.first_time)],
              ["Newest message", moment(stream.last_time)],
              ["Last values", lastValues(stream)],
            ]}
          />
        </Card>
        <Card title="What it keeps">
          <Facts
            of={[
              ["Messages", limit(stream.max_messages, count)],
              ["Size", limit(stream.max_bytes, size)],
              ["Age", limit(stream.max_age, (seconds) => duration(seconds * 1000))],
              ["Repeats known for", limit(stream.dedupe_window, (seconds) => duration(seconds * 1000))],
              ["You may read", part.length === 0 ? undefined : part.map((each) => <code class="listed">{each}</code>)],
              ["Groups", <GroupLinks stream={name} groups={stream.groups ?? []} />],
            ]}
          />
        </Card>
      </div>
    </>
  );
}

function Plots({ name }: { name: string }): JSX.Element {
  void beat.value;
  const times = series.heldTimes;
  return (
    <div class="plots">
      <Card label="Rate">
        <Plot
          title="Messages stored a second"
          times={times}
          format={short}
          lines={[{ label: "stored", values: growth(series.stream(name, "last"), times), color: 1 }]}
        />
      </Card>
      <Card label="Size">
        <Plot
          title="Messages kept"
          times={times}
          format={short}
          lines={[{ label: "kept", values: series.stream(name, "messages"), color: 2 }]}
        />
      </Card>
    </div>
  );
}

function GroupLinks({ stream, groups }: { stream: string; groups: readonly string[] }): JSX.Element {
  if (groups.length === 0) return <>none</>;
  return (
    <>
      {groups.map((group) => (
        <a key={group} class="listed" href={href(["queues", stream, group])}>
          {group}
        </a>
      ))}
    </>
  );
}

/** Of a stream that may be read in part only, the rest is not to be known. */
const UNTOLD = "–";

function lastValues({ last_values, last_values_kept }: Stream): string {
  if (typeof last_values !== "boolean") return UNTOLD;
  return last_values ? `${count(last_values_kept)} topics` : "not kept";
}

function limit(value: number | null, words: (value: number) => string): string {
  return value === null ? UNTOLD : words(value);
}
