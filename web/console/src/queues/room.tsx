/** Work queues: what groups have to do, who does it, where one message is. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { call } from "../gateway/api.js";
import { usePoll } from "../gateway/poll.js";
import { isAdmin, mayAnything } from "../gateway/session.js";
import { beat, series } from "../gateway/statistics.js";
import { go, href, place } from "../router.js";
import { Confirm } from "../ui/dialog.js";
import { count, duration, plural, short } from "../ui/format.js";
import { Answer, Card, Facts, Figure, Notice, Room, Tag } from "../ui/parts.js";
import { Plot } from "../ui/plot.js";
import { type Column, Table, numbers } from "../ui/table.js";
import { type Group, groupPath, listGroups } from "./groups.js";
import { Leases } from "./leases.js";
import { WhereIsIt } from "./where_is_it.js";

export function QueuesRoom(): JSX.Element {
  const poll = usePoll("groups", 3, listGroups);
  const [stream, name] = place.value.rest;
  const answer = poll.state.value;
  const group = answer.value?.find((each) => each.stream === stream && each.name === name);
  if (group !== undefined) return <One group={group} onChange={poll.refresh} />;
  return (
    <Room title="Queues">
      <Answer of={answer}>
        {(groups) => (
          <>
            {name !== undefined && (
              <Notice kind="warn">
                There is no group {stream}/{name}.
              </Notice>
            )}
            <Table
              label="Groups"
              rows={groups}
              columns={COLUMNS}
              id={(each) => `${each.stream}/${each.name}`}
              sort="-depth"
              onSelect={(each) => go(href(["queues", each.stream, each.name]))}
              empty="No stream has a group. Make one with [[streams.groups]] in the settings, or with gateway groups."
            />
          </>
        )}
      </Answer>
    </Room>
  );
}

const COLUMNS: readonly Column<Group>[] = [
  {
    id: "group",
    title: "Group",
    width: "minmax(8rem, 2fr)",
    cell: (each) => (
      <>
        <span class="muted">{each.stream}/</span>
        {each.name} {each.paused === true && <Tag kind="warn">paused</Tag>}
      </>
    ),
    order: (each) => `${each.stream}/${each.name}`,
  },
  numbers({ id: "depth", title: "Depth", width: "5.5rem", of: ({ depth }) => depth }),
  numbers({ id: "flight", title: "In flight", width: "5.5rem", of: (each) => each.in_flight }),
  numbers({ id: "delayed", title: "Delayed", width: "5.5rem", wide: true, of: ({ delayed }) => delayed }),
  numbers({ id: "parked", title: "Parked", width: "5rem", wide: true, of: ({ parked }) => parked }),
  numbers({ id: "age", title: "Oldest", width: "5.5rem", of: (each) => each.oldest_age_ms, write: duration }),
  numbers({ id: "members", title: "Members", width: "5.2rem", wide: true, of: ({ members }) => members.length }),
  numbers({
    id: "dead",
    title: "Dead",
    width: "4.5rem",
    wide: true,
    of: ({ dead }) => dead,
    cell: (each) => (each.dead === 0 ? "0" : <a href={lettersOf(each)}>{count(each.dead)}</a>),
  }),
  numbers({
    id: "lost",
    title: "Lost",
    width: "4.5rem",
    wide: true,
    of: ({ lost }) => lost,
    cell: ({ lost }) => (lost === 0 ? "0" : <Tag kind="bad">{count(lost)}</Tag>),
  }),
];

function lettersOf(group: Group): string {
  return href(["dead-letters"], { group: `${group.stream}/${group.name}` });
}

function One({ group, onChange }: { group: Group; onChange: () => void }): JSX.Element {
  void beat.value;
  const name = `${group.stream}/${group.name}`;
  const times = series.heldTimes;
  const figure = (of: string): readonly (number | null)[] => series.group(name, of);
  return (
    <Room
      title={name}
      aside={
        <>
          <a href="#/queues">All queues</a>
          {mayAnything("subscribe") && <a href={href(["streams", group.stream])}>Its stream</a>}
          {group.paused === true && <Tag kind="warn">paused: its members get nothing new</Tag>}
        </>
      }
      actions={
        group.paused === undefined || !isAdmin.value ? null : <PauseButton group={group} paused={group.paused} onDone={onChange} />
      }
    >
      <div class="figures">
        <Figure name="Depth" value={count(group.depth)} />
        <Figure name="In flight" value={count(group.in_flight)} />
        <Figure name="Oldest" value={duration(group.oldest_age_ms)} />
        <Figure name="Delayed" value={count(group.delayed)} />
        <Figure name="Parked" value={count(group.parked)} />
        <Figure name="Redelivered" value={count(group.redelivered)} />
        <Figure
          name="Dead letters"
          value={count(group.dead)}
          kind={group.dead > 0 ? "warn" : ""}
          href={lettersOf(group)}
        />
        <Figure name="Lost" value={count(group.lost)} kind={group.lost > 0 ? "bad" : ""} />
      </div>
      {isAdmin.value && (
        <div class="plots">
          <Card label="Depth">
            <Plot
              title="Depth"
              times={times}
              format={short}
              lines={[{ label: "not finished", values: figure("depth"), color: 1 }]}
            />
          </Card>
          <Card label="In flight">
            <Plot
              title="In flight"
              times={times}
              format={short}
              lines={[{ label: "leased", values: figure("in_flight"), color: 2 }]}
            />
          </Card>
          <Card label="Oldest">
            <Plot
              title="Oldest"
              times={times}
              format={duration}
              least={1000}
              lines={[{ label: "age", values: figure("oldest_age_ms"), color: 3 }]}
            />
          </Card>
        </div>
      )}
      <div class="columns">
        <WhereIsIt group={group} />
        <Card title={`Members with deliveries (${count(group.members.length)})`}>
          <Table
            label="Members"
            height="fit"
            rows={group.members}
            columns={MEMBERS}
            id={(member) => member.name}
            sort="-flight"
            empty="Nobody has a delivery now."
          />
        </Card>
      </div>
      <Leases group={group} />
      <Card title="Settings">
        <Facts
          of={Object.entries(group.settings).map(([key, value]) => [key, <code>{inJson(value)}</code>] as const)}
        />
      </Card>
    </Room>
  );
}

const MEMBERS: readonly Column<Group["members"][number]>[] = [
  {
    id: "name",
    title: "Member",
    width: "minmax(8rem, 1fr)",
    kind: "code",
    cell: ({ name }) => name,
    order: ({ name }) => name,
  },
  numbers({ id: "flight", title: "In flight", width: "6rem", of: (member) => member.in_flight }),
];

function inJson(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function PauseButton({ group, paused, onDone }: { group: Group; paused: boolean; onDone: () => void }): JSX.Element {
  const [open, setOpen] = useState(false);
  const perform = async (): Promise<string> => {
    await call<Group>(groupPath(group, paused ? "resume" : "pause"), { method: "POST" });
    onDone();
    return paused ? "Its members are served again." : "Its members get nothing new, on all nodes, until it goes on.";
  };
  return (
    <>
      <button type="button" onClick={() => setOpen(true)}>
        {paused ? "Resume …" : "Pause …"}
      </button>
      {open && (
        <Confirm
          title={`${paused ? "Resume" : "Pause"} ${group.stream}/${group.name}?`}
          action={paused ? "Resume" : "Pause"}
          perform={perform}
          onClose={() => setOpen(false)}
        >
          <p>
            {paused
              ? `${plural(group.depth, "message")} are to be worked off.`
              : "What is in flight can still be acknowledged. What is published waits, also over restarts, until somebody resumes."}
          </p>
        </Confirm>
      )}
    </>
  );
}
