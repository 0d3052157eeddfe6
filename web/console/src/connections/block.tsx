import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { call } from "../gateway/api.js";
import { Confirm } from "../ui/dialog.js";
import { moment, plural } from "../ui/format.js";
import { Field } from "../ui/parts.js";

interface Done {
  readonly disconnected: number;
  readonly blocked_until: number | null;
  readonly missing: readonly string[];
  readonly complete: boolean;
}

const TIMES = [
  ["", "Disconnect only"],
  ["60", "Block for a minute"],
  ["3600", "Block for an hour"],
  ["86400", "Block for a day"],
  ["2678400", "Block for 31 days"],
  ["0", "Lift a block"],
] as const;

interface BlockProps {
  /** Whom to suggest. */
  readonly subject: string;
  readonly onDone: () => void;
  readonly onClose: () => void;
}

/** Ends all connections of a subject, and blocks it or lifts a block. */
export function BlockDialog({ subject, onDone, onClose }: BlockProps): JSX.Element {
  const [whom, setWhom] = useState(subject);
  const [time, setTime] = useState("3600");
  const perform = async (): Promise<string> => {
    if (whom === "") throw new Error("a subject is needed");
    const body = { subject: whom, ...(time === "" ? {} : { block_seconds: Number(time) }) };
    const done = await call<Done>("v1/disconnect", { method: "POST", body });
    onDone();
    const until = done.blocked_until === null ? "not blocked" : `blocked until ${moment(done.blocked_until)}`;
    const unheard = done.missing.join(", ") || "some may be unknown";
    const reach = done.complete ? "" : ` Not all nodes have answered (${unheard}); a block reaches them later.`;
    return `${plural(done.disconnected, "connection")} closed, ${until}.${reach}`;
  };
  return (
    <Confirm title="Disconnect or block a subject" action="Go ahead" dangerous perform={perform} onClose={onClose}>
      <Field label="Subject" hint="all its connections, on all nodes">
        {(given) => <input {...given} value={whom} onInput={(event) => setWhom(event.currentTarget.value)} />}
      </Field>
      <Field label="What">
        {(given) => (
          <select {...given} value={time} onChange={(event) => setTime(event.currentTarget.value)}>
            {TIMES.map(([seconds, words]) => (
              <option key={seconds} value={seconds}>
                {words}
              </option>
            ))}
          </select>
        )}
      </Field>
    </Confirm>
  );
}
