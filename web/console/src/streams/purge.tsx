/** Removing messages of a stream for good; first it is said how many. */
import { filterProblem } from "@fanout-gateway/client";
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { call, path } from "../gateway/api.js";
import { Confirm, Dialog } from "../ui/dialog.js";
import { count, plural } from "../ui/format.js";
import { Field } from "../ui/parts.js";
import { type Stream, readStream } from "./streams.js";

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
          perform={async () => {
            const done = await call<{ purged: number; missing: readonly string[] }>(
              path("streams", stream.name, "messages"),
              {
                method: "DELETE",
                query: { filter: what.filter, before: what.before },
              },
            );
            onDone();
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

/** How many pages are read to count; beyond them "at least" has to do. */
const PAGES = 30;

/** Counts what would go by reading it: the gateway has no rehearsal of a purge. */
async function forecast(stream: Stream, what: What, signal: AbortSignal): Promise<string> {
  if (what.filter === "#" && what.before === null)
    return `It would remove everything: ${plural(stream.messages, "message")}.`;
  let found = 0;
  let from = "earliest";
  let epoch: string | undefined;
  for (let page = 0; page < PAGES; page += 1) {
    const read = await readStream(
      stream.name,
      { from, filter: what.filter, limit: 1000, ...(epoch === undefined ? {} : { epoch }) },
      signal,
    );
    found += read.messages.filter(({ offset }) => what.before === null || offset < what.before).length;
    const over = read.next > read.last || (what.before !== null && read.next >= what.before);
    if (over)
      return found === 0 ? "Nothing matches: it would remove nothing." : `It would remove ${plural(found, "message")}.`;
    from = String(read.next);
    epoch = read.epoch;
  }
  return `It would remove at least ${plural(found, "message")}; there are too many to count them all.`;
}
