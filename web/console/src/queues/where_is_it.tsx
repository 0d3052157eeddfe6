/** Where one message is, and what it waits for. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { usePoll } from "../gateway/poll.js";
import { now } from "../gateway/session.js";
import { href, place, setParameters } from "../router.js";
import { count, duration, moment } from "../ui/format.js";
import { Answer, Card, Facts, Field, Tag } from "../ui/parts.js";
import { type Group, type Whereabouts, inWords, whereIs } from "./groups.js";

const KINDS: Readonly<Record<string, "good" | "warn" | "bad" | "accent">> = {
  finished: "good",
  leased: "accent",
  delayed: "warn",
  parked: "warn",
  dead: "bad",
  gone: "bad",
};

export function WhereIsIt({ group }: { group: Group }): JSX.Element {
  const asked = place.value.parameters.get("offset") ?? "";
  const [typed, setTyped] = useState(asked);
  const [problem, setProblem] = useState<string | null>(null);
  const poll = usePoll(asked === "" ? null : `${group.stream}/${group.name} ${asked}`, 2, (signal) =>
    whereIs(group, Number(asked), signal),
  );
  const submit = (): void => {
    const right = /^[1-9]\d{0,15}$/.test(typed.replace(/[,\s]/g, ""));
    setProblem(right ? null : "an offset is a number from 1");
    if (right) setParameters({ offset: typed.replace(/[,\s]/g, "") });
  };
  return (
    <Card title="Where is it?">
      <form
        class="line-form"
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          submit();
        }}
      >
        <Field label="Offset" class="grow" problem={problem}>
          {(given) => (
            <input
              {...given}
              inputMode="numeric"
              value={typed}
              onInput={(event) => setTyped(event.currentTarget.value)}
            />
          )}
        </Field>
        <button type="submit" class="primary">
          Find
        </button>
      </form>
      {asked !== "" && <Answer of={poll.state.value}>{(found) => <Found found={found} group={group} />}</Answer>}
    </Card>
  );
}

function Found({ found, group }: { found: Whereabouts; group: Group }): JSX.Element {
  return (
    <>
      <p class="forecast" role="status">
        <Tag kind={KINDS[found.state] ?? ""}>{found.state}</Tag> {inWords(found, now.value, duration)}
      </p>
      <Facts
        of={[
          [
            "Offset",
            <a href={href(["streams", group.stream, "messages"], { from: String(found.offset) })}>
              {count(found.offset)}
            </a>,
          ],
          ["Waits for", found.waits_for ?? "nothing"],
          ["Failed attempts", count(found.attempts)],
          ["Member", found.member ?? undefined],
          ["Since", found.since === null ? undefined : moment(found.since)],
          ["Until", found.due === null ? undefined : moment(found.due)],
          ...found.failures.map(
            (failure, index) => [`Failure ${index + 1}`, `${moment(failure.time)}: ${failure.reason}`] as const,
          ),
        ]}
      />
    </>
  );
}
