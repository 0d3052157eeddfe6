/** Dead letters: looking for them, sending them back, giving them up. */
import { filterProblem } from "@fanout-gateway/client";
import type { JSX } from "preact";
import { useRef, useState } from "preact/hooks";
import { usePoll } from "../gateway/poll.js";
import { isAdmin } from "../gateway/session.js";
import { type Group, listGroups } from "../queues/groups.js";
import { href, place, setParameters } from "../router.js";
import { count, moment, plural } from "../ui/format.js";
import { MessageView, fromWire, oneLine } from "../ui/message.js";
import { Answer, Card, Field, Inspector, Notice, Room } from "../ui/parts.js";
import { type Column, Table } from "../ui/table.js";
import { Decide } from "./decide.js";
import type { Choice, Letter, Search } from "./letters.js";
import { useLetters } from "./list.js";

export function DeadLettersRoom(): JSX.Element {
  const poll = usePoll("groups", 5, listGroups);
  const answer = poll.state.value;
  const wanted = place.value.parameters.get("group");
  const groups = answer.value ?? [];
  const group = groups.find((each) => nameOf(each) === wanted) ?? (wanted === null ? groupWithMost(groups) : undefined);
  return (
    <Room
      title="Dead letters"
      aside={group !== undefined && <a href={href(["queues", group.stream, group.name])}>Its queue</a>}
      actions={groups.length > 0 && <GroupChoice groups={groups} chosen={group} />}
    >
      <Answer of={answer}>
        {() =>
          group === undefined ? (
            <p class="empty">
              {groups.length === 0 ? "No stream has a group, so nothing can be dead." : `There is no group ${wanted}.`}
            </p>
          ) : (
            <Letters key={nameOf(group)} group={group} onChange={poll.refresh} />
          )
        }
      </Answer>
    </Room>
  );
}

function nameOf(group: Group): string {
  return `${group.stream}/${group.name}`;
}

function groupWithMost(groups: readonly Group[]): Group | undefined {
  return groups.reduce<Group | undefined>(
    (most, each) => (most === undefined || each.dead > most.dead ? each : most),
    undefined,
  );
}

function GroupChoice({ groups, chosen }: { groups: readonly Group[]; chosen: Group | undefined }): JSX.Element {
  return (
    <select
      aria-label="Group"
      value={chosen === undefined ? "" : nameOf(chosen)}
      onChange={(event) => setParameters({ group: event.currentTarget.value, filter: null, contains: null })}
    >
      {groups.map((each) => (
        <option key={nameOf(each)} value={nameOf(each)}>
          {nameOf(each)} ({count(each.dead)})
        </option>
      ))}
    </select>
  );
}

type Action = "redrive" | "discard";

function Letters({ group, onChange }: { group: Group; onChange: () => void }): JSX.Element {
  const { parameters } = place.value;
  const search: Search = { filter: parameters.get("filter") ?? "", contains: parameters.get("contains") ?? "" };
  const [chosen, setChosen] = useState<Letter | null>(null);
  const [marked, setMarked] = useState<ReadonlySet<string>>(new Set());
  const [asked, setAsked] = useState<{ action: Action; choice: Choice } | null>(null);
  const inspector = useRef<HTMLDivElement>(null);
  const list = useLetters(group, search);
  const toggle = (id: string): void => {
    const next = new Set(marked);
    if (!next.delete(id)) next.add(id);
    setMarked(next);
  };
  const choice: Choice = marked.size > 0 ? { ids: [...marked] } : search;
  const many =
    marked.size > 0 ? count(marked.size) : search.filter !== "" || search.contains !== "" ? "those found" : "all";
  return (
    <div class="split">
      <Card label="Letters" class="feed">
        <SearchForm search={search} />
        <div class="submit">
          <span class="muted push" role="status">
            {list.problem ?? `${plural(list.letters.length, "letter")} listed${list.more ? ", more below" : ""}`}
          </span>
          {list.stale && (
            <button type="button" onClick={list.reload}>
              Changed since: load again
            </button>
          )}
          {marked.size > 0 && (
            <button type="button" onClick={() => setMarked(new Set())}>
              Unmark
            </button>
          )}
          {isAdmin.value && (
            <>
              <button
                type="button"
                disabled={list.letters.length === 0}
                onClick={() => setAsked({ action: "redrive", choice })}
              >
                Redrive {many} …
              </button>
              <button
                type="button"
                class="danger"
                disabled={list.letters.length === 0}
                onClick={() => setAsked({ action: "discard", choice })}
              >
                Discard {many} …
              </button>
            </>
          )}
        </div>
        <Table
          label="Dead letters, newest first"
          rows={list.letters}
          columns={columns(marked, toggle)}
          id={({ id }) => id}
          selected={chosen?.id ?? null}
          onSelect={(letter) => {
            setChosen(letter);
            inspector.current?.scrollIntoView({ block: "nearest" });
          }}
          onEnd={list.loadMore}
          empty={
            list.loading
              ? "Loading …"
              : search.filter !== "" || search.contains !== ""
                ? "No dead letter matches."
                : "No dead letters: everything was handled."
          }
        />
      </Card>
      <div class="aside">
        <Inspector box={inspector} empty="Choose a letter from the list.">
          {chosen && (
            <>
              <Notice kind="warn">{chosen.reason}</Notice>
              <MessageView
                message={{ ...fromWire(chosen), id: chosen.message_id }}
                more={[
                  ["Attempts", count(chosen.attempts)],
                  ["First failed", moment(chosen.first_failed)],
                  ["Last failed", moment(chosen.last_failed)],
                ]}
              />
              {isAdmin.value && (
                <div class="submit">
                  <button type="button" onClick={() => setAsked({ action: "redrive", choice: { ids: [chosen.id] } })}>
                    Redrive this …
                  </button>
                  <button
                    type="button"
                    class="danger"
                    onClick={() => setAsked({ action: "discard", choice: { ids: [chosen.id] } })}
                  >
                    Discard this …
                  </button>
                </div>
              )}
            </>
          )}
        </Inspector>
      </div>
      {asked !== null && (
        <Decide
          group={group}
          {...asked}
          onClose={() => setAsked(null)}
          onDone={() => {
            setMarked(new Set());
            setChosen(null);
            list.reload();
            onChange();
          }}
        />
      )}
    </div>
  );
}

function columns(marked: ReadonlySet<string>, toggle: (id: string) => void): readonly Column<Letter>[] {
  const all: readonly Column<Letter>[] = [
    {
      id: "mark",
      title: "Marked",
      untitled: true,
      width: "1.6rem",
      cell: ({ id, topic }) => (
        <input
          type="checkbox"
          tabIndex={-1}
          aria-label={`Mark ${topic} ${id}`}
          checked={marked.has(id)}
          onChange={() => toggle(id)}
        />
      ),
    },
    { id: "time", title: "Failed", width: "6.5rem", kind: "number", cell: (letter) => moment(letter.last_failed) },
    { id: "topic", title: "Topic", width: "minmax(7rem, 2fr)", kind: "code", cell: ({ topic }) => topic },
    { id: "reason", title: "Reason", width: "minmax(6rem, 2fr)", cell: ({ reason }) => reason },
    {
      id: "attempts",
      title: "Attempts",
      width: "5rem",
      kind: "number",
      wide: true,
      cell: ({ attempts }) => count(attempts),
    },
    {
      id: "body",
      title: "Body",
      width: "minmax(6rem, 3fr)",
      kind: "code",
      wide: true,
      cell: (letter) => oneLine(fromWire(letter).data, letter.content_type, letter.deleted),
    },
  ];
  // Marks are for what only administrators may do.
  return isAdmin.value ? all : all.slice(1);
}

function SearchForm({ search }: { search: Search }): JSX.Element {
  const [contains, setContains] = useState(search.contains);
  const [filter, setFilter] = useState(search.filter);
  const wrong = filter === "" ? null : filterProblem(filter);
  return (
    <form
      class="line-form"
      role="search"
      aria-label="Search dead letters"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        if (wrong === null) setParameters({ contains, filter });
      }}
    >
      <Field label="Contains" class="grow" hint="in body, topic, key or reason">
        {(given) => (
          <input
            {...given}
            spellcheck={false}
            maxLength={256}
            value={contains}
            onInput={(event) => setContains(event.currentTarget.value)}
          />
        )}
      </Field>
      <Field label="Topic filter" class="grow" problem={wrong}>
        {(given) => (
          <input
            {...given}
            spellcheck={false}
            placeholder="all topics"
            value={filter}
            onInput={(event) => setFilter(event.currentTarget.value)}
          />
        )}
      </Field>
      <button type="submit" class="primary">
        Search
      </button>
    </form>
  );
}
