/** What of a group isn't finished, by state: the leases above all. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { usePoll } from "../gateway/poll.js";
import { now } from "../gateway/session.js";
import { place, setParameters } from "../router.js";
import { duration, plural } from "../ui/format.js";
import { Answer, Card } from "../ui/parts.js";
import { type Column, Table, numbers } from "../ui/table.js";
import { type Group, type Whereabouts, unfinished } from "./groups.js";

const STATES = ["leased", "delayed", "parked", "waiting"] as const;

const COLUMNS: readonly Column<Whereabouts>[] = [
  numbers({ id: "offset", title: "Offset", width: "7rem", of: ({ offset }) => offset }),
  {
    id: "member",
    title: "Member",
    width: "minmax(8rem, 2fr)",
    kind: "code",
    cell: ({ member, behind }) => member ?? (behind === null ? "" : `behind ${behind}`),
    order: ({ member }) => member,
  },
  numbers({
    id: "since",
    title: "Since",
    width: "6rem",
    wide: true,
    of: ({ since }) => since,
    cell: ({ since }) => (since === null ? "" : duration(Math.max(0, now.value - since))),
  }),
  numbers({
    id: "due",
    title: "Left",
    width: "6rem",
    of: ({ due }) => due,
    cell: ({ due }) => (due === null ? "" : due < now.value ? "over" : duration(due - now.value)),
  }),
  numbers({ id: "attempts", title: "Failed", width: "5rem", wide: true, of: ({ attempts }) => attempts }),
  {
    id: "reason",
    title: "Last failure",
    width: "minmax(6rem, 2fr)",
    wide: true,
    cell: ({ failures }) => failures.at(-1)?.reason ?? "",
  },
];

export function Leases({ group }: { group: Group }): JSX.Element {
  const [state, setState] = useState<(typeof STATES)[number]>("leased");
  const poll = usePoll(`${group.stream}/${group.name} ${state}`, 3, (signal) => unfinished(group, state, null, signal));
  return (
    <Card
      title="Not finished"
      actions={
        <div class="tabs" role="group" aria-label="State">
          {STATES.map((each) => (
            <button key={each} type="button" class="quiet" aria-pressed={each === state} onClick={() => setState(each)}>
              {each}
            </button>
          ))}
        </div>
      }
    >
      <Answer of={poll.state.value}>
        {({ messages, next }) => (
          <>
            <Table
              label={`Messages that are ${state}`}
              height="fit"
              rows={messages}
              columns={COLUMNS}
              id={({ offset }) => String(offset)}
              selected={place.value.parameters.get("offset")}
              onSelect={({ offset }) => setParameters({ offset: String(offset) })}
              empty={`No message is ${state}.`}
            />
            {next !== null && <p class="hint">The first {plural(messages.length, "message")}; there are more.</p>}
          </>
        )}
      </Answer>
    </Card>
  );
}
