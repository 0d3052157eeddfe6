/** Webhooks: what became of their last deliveries, and trying one. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { usePoll } from "../gateway/poll.js";
import { href, place, setParameters } from "../router.js";
import { Confirm } from "../ui/dialog.js";
import { count, moment, plural, size } from "../ui/format.js";
import { Answer, Card, Facts, Field, Notice, Room, Tag } from "../ui/parts.js";
import { type Column, Table } from "../ui/table.js";
import { type Delivery, type Hook, listDeliveries, listHooks, replay } from "./hooks.js";
import { TryIt } from "./try_it.js";

export function WebhooksRoom(): JSX.Element {
  const poll = usePoll("hooks", 30, listHooks);
  const wanted = place.value.parameters.get("hook");
  const hooks = poll.state.value.value ?? [];
  const hook = hooks.find((each) => each.name === wanted) ?? (wanted === null ? hooks[0] : undefined);
  return (
    <Room title="Webhooks">
      <Answer of={poll.state.value}>
        {() =>
          hook === undefined ? (
            <p class="empty">
              {hooks.length === 0
                ? "No hook is configured. See [[hooks]] in the settings."
                : `There is no hook ${wanted}.`}
            </p>
          ) : (
            <Deliveries key={hook.name} hook={hook} hooks={hooks} />
          )
        }
      </Answer>
    </Room>
  );
}

const VERDICTS: Readonly<Record<Delivery["verdict"], "good" | "warn" | "bad" | "accent" | "">> = {
  published: "good",
  repeated: "",
  ignored: "",
  answered: "accent",
  refused: "bad",
  replayed: "accent",
};

const COLUMNS: readonly Column<Delivery>[] = [
  { id: "time", title: "Time", width: "6.5rem", kind: "number", cell: ({ time }) => moment(time) },
  {
    id: "verdict",
    title: "Verdict",
    width: "6.5rem",
    cell: ({ verdict }) => <Tag kind={VERDICTS[verdict]}>{verdict}</Tag>,
  },
  {
    id: "topic",
    title: "Topic",
    width: "minmax(6rem, 3fr)",
    kind: "code",
    cell: ({ topic, reason }) => topic ?? <span class="muted">{reason ?? ""}</span>,
  },
  {
    id: "address",
    title: "From",
    width: "minmax(6rem, 1fr)",
    kind: "code",
    wide: true,
    cell: ({ address }) => address ?? "",
  },
  { id: "node", title: "Node", width: "6.5rem", kind: "code", wide: true, cell: ({ node }) => node },
  { id: "size", title: "Size", width: "5rem", kind: "number", wide: true, cell: (each) => size(each.size) },
];

function nameOf({ node, number }: Delivery): string {
  return `${node} ${number}`;
}

function Deliveries({ hook, hooks }: { hook: Hook; hooks: readonly Hook[] }): JSX.Element {
  const poll = usePoll(hook.name, 3, (signal) => listDeliveries(hook.name, signal));
  const [chosen, setChosen] = useState<string | null>(null);
  const [verdict, setVerdict] = useState("");
  const all = poll.state.value.value?.deliveries ?? [];
  const delivery = all.find((each) => nameOf(each) === chosen);
  return (
    <div class="split">
      <Card label="Deliveries" class="feed">
        <div class="line-form">
          <Field label="Hook">
            {(given) => (
              <select
                {...given}
                value={hook.name}
                onChange={(event) => setParameters({ hook: event.currentTarget.value })}
              >
                {hooks.map(({ name }) => (
                  <option key={name}>{name}</option>
                ))}
              </select>
            )}
          </Field>
          <Field label="Verdict">
            {(given) => (
              <select {...given} value={verdict} onChange={(event) => setVerdict(event.currentTarget.value)}>
                <option value="">All</option>
                {Object.keys(VERDICTS).map((each) => (
                  <option key={each}>{each}</option>
                ))}
              </select>
            )}
          </Field>
          <TryIt hook={hook} onSent={poll.refresh} />
        </div>
        <p class="hint">
          Scheme <code>{hook.scheme}</code>
          {hook.sender !== null && ` (${hook.sender})`}, topic <code>{hook.topic}</code>.{" "}
          {plural(all.length, "delivery", "deliveries")} kept, of all nodes.
        </p>
        <Answer of={poll.state.value}>
          {({ deliveries, missing }) => (
            <>
              {missing.length > 0 && (
                <Notice kind="warn">
                  {plural(missing.length, "node")} did not answer: {missing.length === 1 ? "its" : "their"} deliveries are
                  missing.
                </Notice>
              )}
              <Table
                label="Deliveries, newest first"
                rows={verdict === "" ? deliveries : deliveries.filter((each) => each.verdict === verdict)}
                columns={COLUMNS}
                id={nameOf}
                selected={chosen}
                onSelect={(each) => setChosen(nameOf(each))}
                empty="No delivery has come since the nodes began."
              />
            </>
          )}
        </Answer>
      </Card>
      <div class="aside">
        <Card title="Delivery">
          {delivery === undefined ? (
            <p class="empty">Choose a delivery from the list.</p>
          ) : (
            <One hook={hook} delivery={delivery} onDone={poll.refresh} />
          )}
        </Card>
      </div>
    </div>
  );
}

function One({ hook, delivery, onDone }: { hook: Hook; delivery: Delivery; onDone: () => void }): JSX.Element {
  const [asking, setAsking] = useState(false);
  return (
    <>
      {delivery.verdict === "refused" && (
        <Notice>
          Refused: {delivery.reason ?? "for no reason told"}
          {delivery.detail !== undefined && `. ${delivery.detail}`}
        </Notice>
      )}
      <Facts
        of={[
          ["Verdict", <Tag kind={VERDICTS[delivery.verdict]}>{delivery.verdict}</Tag>],
          ["Why", delivery.verdict === "refused" ? undefined : (delivery.detail ?? delivery.reason)],
          ["Time", new Date(delivery.time).toISOString()],
          ["From", delivery.address],
          ["Size", size(delivery.size)],
          ["Node", `${delivery.node}, no. ${delivery.number}`],
          ["Its name", delivery.delivery_id],
          [
            "Topic",
            delivery.topic === undefined ? undefined : (
              <a href={href(["topics"], { filter: delivery.topic })}>{delivery.topic}</a>
            ),
          ],
          ["Message", delivery.id],
          [
            "Position",
            delivery.stream === undefined ? undefined : (
              <a href={href(["streams", delivery.stream, "messages"], { from: String(delivery.offset) })}>
                {delivery.stream} @ {count(delivery.offset)}
              </a>
            ),
          ],
        ]}
      />
      {delivery.stream !== undefined && (
        <div class="submit">
          <button type="button" onClick={() => setAsking(true)}>
            Publish again …
          </button>
        </div>
      )}
      {asking && (
        <Confirm
          title="Publish this delivery again?"
          action="Publish"
          onClose={() => setAsking(false)}
          perform={async () => {
            const receipt = await replay(hook.name, delivery);
            onDone();
            return `Published as ${receipt.id}.`;
          }}
        >
          <p>
            What the stream keeps of it is published once more on <code>{delivery.topic}</code>, under another id and
            offset.
          </p>
        </Confirm>
      )}
    </>
  );
}
