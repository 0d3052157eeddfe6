/** The topics of a stream, page by page. */
import { filterProblem } from "@fanout-gateway/client";
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { inWords } from "../gateway/api.js";
import { go, href, place, setParameters } from "../router.js";
import { count, moment } from "../ui/format.js";
import { Card, Field, Notice } from "../ui/parts.js";
import { type Column, Table } from "../ui/table.js";
import { type Stream, type TopicOf, readTopics, readableBy } from "./streams.js";

/** More than this is no list that anybody reads. */
const MOST = 20_000;

const COLUMNS: readonly Column<TopicOf>[] = [
  { id: "topic", title: "Topic", width: "minmax(10rem, 4fr)", kind: "code", cell: ({ topic }) => topic },
  { id: "first", title: "First", width: "6rem", kind: "number", wide: true, cell: ({ first }) => count(first) },
  { id: "last", title: "Last", width: "6rem", kind: "number", cell: ({ last }) => count(last) },
  { id: "newest", title: "Newest", width: "10rem", kind: "number", cell: ({ time }) => moment(time) },
];

export function TopicsOf({ stream }: { stream: Stream }): JSX.Element {
  const filter = place.value.parameters.get("filter") || (readableBy(stream)[0] ?? "");
  const [typed, setTyped] = useState(filter);
  const [topics, setTopics] = useState<readonly TopicOf[]>([]);
  const [problem, setProblem] = useState<string | null>(null);
  const [state, setState] = useState<"loading" | "more" | "all">("loading");
  const next = useRef<string | null>(null);
  const stop = useRef<AbortController | null>(null);
  const load = async (known: readonly TopicOf[]): Promise<void> => {
    const controller = stop.current;
    if (controller === null) return;
    setState("loading");
    try {
      const page = await readTopics(stream.name, filter, next.current, controller.signal);
      const all = [...known, ...page.topics];
      next.current = page.next;
      setTopics(all);
      setState(page.next === null || all.length >= MOST ? "all" : "more");
    } catch (error) {
      if (!controller.signal.aborted) setProblem(inWords(error));
    }
  };
  useEffect(() => {
    stop.current = new AbortController();
    next.current = null;
    setTopics([]);
    setProblem(null);
    void load([]);
    return () => stop.current?.abort();
  }, [stream.name, filter]);
  const wrong = typed === "" ? null : filterProblem(typed);
  return (
    <Card label="Topics" class="feed">
      <form
        class="line-form"
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          if (wrong === null) setParameters({ filter: typed });
        }}
      >
        <Field label="Topic filter" class="grow" problem={wrong}>
          {(given) => (
            <input
              {...given}
              spellcheck={false}
              placeholder={stream.filter}
              value={typed}
              onInput={(event) => setTyped(event.currentTarget.value)}
            />
          )}
        </Field>
        <button type="submit" class="primary">
          Show
        </button>
      </form>
      {problem !== null && <Notice>{problem}</Notice>}
      <Table
        label="Topics of the stream"
        rows={topics}
        columns={COLUMNS}
        id={({ topic }) => topic}
        onSelect={({ topic }) => go(href(["streams", stream.name, "messages"], { filter: topic }))}
        onEnd={() => {
          if (state === "more") void load(topics);
        }}
        empty={state === "loading" ? "Loading …" : "No topic matches."}
      />
      <p class="hint" role="status">
        {count(topics.length)} topics
        {state === "more" ? " so far; scroll for more" : topics.length >= MOST ? "; the rest is not listed" : ""}
      </p>
    </Card>
  );
}
