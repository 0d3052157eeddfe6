/** Removing messages of a stream for good; first it is said how many. */
import { filterProblem } from "@fanout-gateway/client";
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { call, path } from "../gateway/api.js";
import { callInSteps } from "../gateway/lines.js";
import { Confirm, Dialog } from "../ui/dialog.js";
import { count, plural, size } from "../ui/format.js";
import { Field } from "../ui/parts.js";
import type { Stream } from "./streams.js";

interface What {
  readonly filter: string;
  readonly before: number | null;
}

export function PurgeButton({ stream, onDone }: { stream: Stream; onDone: () => void }): JSX.Element {
  const [open, setOpen] = useState(false);
  const [what, setWhat] = useState<What | null>(null);
  const close = (): void => {
    setOpen(false);
    setWhat(null);
  };
  return (
    <>
      <button type="button" class="danger" onClick={() => setOpen(true)}>
        Purge …
      </button>
      {open && what === null && <Ask stream={stream} onAsk={setWhat} onClose={close} />}
      {what !== null && (
        <Confirm
          title={`Purge ${stream.name}?`}
          action="Purge for good"
          dangerous
          onClose={close}
          rehearse={(signal) => forecast(stream, what, signal)}
          perform={async (tell, signal) => {
            const done = await callInSteps<{ purged: number; missing: readonly string[] }>(
              path("streams", stream.name, "messages"),
              { method: "DELETE", query: { ...what }, signal },
              tell,
            ).finally(onDone);
            const late = done.missing.length === 0 ? "" : ` ${plural(done.missing.length, "node")} did not say so yet.`;
            return `${plural(done.purged, "message")} purged.${late}`;
          }}
        >
          <p>
            What <code>{what.filter}</code> matches{what.before === null ? "" : ` before offset ${count(what.before)}`}{" "}
            is removed for good, last values included. Readers are told that it is gone.
          </p>
        </Confirm>
      )}
    </>
  );
}

function Ask({
  stream,
  onAsk,
  onClose,
}: {
  stream: Stream;
  onAsk: (what: What) => void;
  onClose: () => void;
}): JSX.Element {
  const [filter, setFilter] = useState("");
  const [before, setBefore] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  const submit = (): void => {
    const wrong = filterProblem(filter);
    setProblem(wrong);
    if (wrong === null) onAsk({ filter, before: /^[1-9]\d*$/.test(before) ? Number(before) : null });
  };
  return (
    <Dialog title={`Purge ${stream.name}`} onClose={onClose}>
      <form
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          submit();
        }}
      >
        <Field label="Topic filter" problem={problem} hint="# is everything">
          {(given) => (
            <input
              {...given}
              spellcheck={false}
              value={filter}
              onInput={(event) => setFilter(event.currentTarget.value)}
            />
          )}
        </Field>
        <Field label="Only before offset" hint="empty: all there is at this moment">
          {(given) => (
            <input
              {...given}
              inputMode="numeric"
              value={before}
              onInput={(event) => setBefore(event.currentTarget.value)}
            />
          )}
        </Field>
        <div class="dialog-actions">
          <button type="submit" class="primary">
            See what it would remove
          </button>
        </div>
      </form>
    </Dialog>
  );
}

/** What would go, as the gateway counts it. */
async function forecast(stream: Stream, what: What, signal: AbortSignal): Promise<string> {
  const would = await call<{ count: number; bytes: number; first: number | null; last: number | null }>(
    path("streams", stream.name, "messages"),
    { method: "DELETE", query: { ...what, dry_run: true }, signal },
  );
  if (would.count === 0) return "Nothing matches: it would remove nothing.";
  const where = would.count === 1 ? `offset ${count(would.first)}` : `offsets ${count(would.first)} to ${count(would.last)}`;
  return `It would remove ${plural(would.count, "message")}, ${size(would.bytes)}: ${where}.`;
}
