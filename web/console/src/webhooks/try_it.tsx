/** Sending a delivery to a hook from the page, and seeing what becomes of it. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { Problem, address, authorization, inWords, path, reach, toProblem } from "../gateway/api.js";
import { usePoll } from "../gateway/poll.js";
import { Dialog } from "../ui/dialog.js";
import { Answer, Field, Notice } from "../ui/parts.js";
import { type Hook, readDeclaration } from "./hooks.js";
import { type Declaration, type Sample, madeUp, signed, whyUnsigned } from "./signing.js";

interface Outcome {
  readonly good: boolean;
  readonly words: string;
}

export function TryIt({ hook, onSent }: { hook: Hook; onSent: () => void }): JSX.Element {
  const [open, setOpen] = useState(false);
  return (
    <>
      <button type="button" onClick={() => setOpen(true)}>
        Try a payload …
      </button>
      {open && (
        <Dialog title={`Try ${hook.name}`} wide onClose={() => setOpen(false)}>
          <Asked hook={hook} onSent={onSent} />
        </Dialog>
      )}
    </>
  );
}

function Asked({ hook, onSent }: { hook: Hook; onSent: () => void }): JSX.Element {
  const poll = usePoll(hook.name, 0, (signal) => readDeclaration(hook.name, signal));
  return (
    <Answer of={poll.state.value}>
      {(declaration) => <TryForm hook={hook} declaration={declaration} onSent={onSent} />}
    </Answer>
  );
}

interface TryProps {
  readonly hook: Hook;
  readonly declaration: Declaration;
  readonly onSent: () => void;
}

function TryForm({ hook, declaration, onSent }: TryProps): JSX.Element {
  const unsigned = whyUnsigned(declaration);
  const [sample] = useState(() => madeUp(declaration));
  const [body, setBody] = useState(sample.body);
  const [headers, setHeaders] = useState(inLines(sample.headers));
  const [secret, setSecret] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  const [outcome, setOutcome] = useState<Outcome | null>(null);
  const submit = async (): Promise<void> => {
    const own = readHeaders(headers);
    if (typeof own === "string") return setProblem(own);
    setProblem(null);
    try {
      const { query } = sample;
      const given = { url: address(path("hooks", hook.name)), body, headers: own };
      const plain: Sample = { body, headers: own, query };
      const made = secret === "" ? plain : await signed(declaration, given, secret, Date.now());
      setOutcome(await send(hook, made));
    } catch (error) {
      setOutcome({ good: false, words: inWords(error) });
    }
    onSent();
  };
  return (
    <form
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <Field label="Body">
        {(given) => (
          <textarea
            {...given}
            rows={6}
            spellcheck={false}
            value={body}
            onInput={(event) => setBody(event.currentTarget.value)}
          />
        )}
      </Field>
      <Field label="Headers" problem={problem} hint="one a line, name: value; those of the signature come on top">
        {(given) => (
          <textarea
            {...given}
            rows={3}
            spellcheck={false}
            value={headers}
            onInput={(event) => setHeaders(event.currentTarget.value)}
          />
        )}
      </Field>
      {unsigned === null && (
        <Field
          label="Secret"
          hint="signs the delivery in this page as its sender would, and is not kept; empty: it is not signed"
        >
          {(given) => (
            <input
              {...given}
              type="password"
              autocomplete="off"
              value={secret}
              onInput={(event) => setSecret(event.currentTarget.value)}
            />
          )}
        </Field>
      )}
      {unsigned !== null && <p class="muted">{unsigned}</p>}
      <div class="submit">
        <button type="submit" class="primary">
          Send
        </button>
      </div>
      <div aria-live="polite">
        {outcome !== null && <Notice kind={outcome.good ? "good" : "bad"}>{outcome.words}</Notice>}
      </div>
    </form>
  );
}

async function send(hook: Hook, { body, headers, query }: Sample): Promise<Outcome> {
  // Where nothing is signed it is the credential that vouches for it; elsewhere it has no business.
  const credential = hook.scheme === "none" ? authorization() : {};
  const response = await reach(address(path("hooks", hook.name)) + (query === "" ? "" : `?${query}`), {
    method: "POST",
    body,
    headers: { ...headers, ...credential },
  });
  if (response.ok) return { good: true, words: `${response.status} ${(await response.text()) || response.statusText}` };
  const problem: Problem = await toProblem(response);
  return { good: false, words: `${problem.status} ${problem.code}: ${problem.message}` };
}

function inLines(headers: Readonly<Record<string, string>>): string {
  return Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}`)
    .join("\n");
}

/** The headers that the text holds, or what is wrong with it. */
function readHeaders(text: string): Readonly<Record<string, string>> | string {
  const headers: Record<string, string> = {};
  for (const line of text.split("\n").filter((each) => each.trim() !== "")) {
    const [, name, value] = /^([!#$%&'*+.^_`|~\w-]+):\s*(.*)$/.exec(line.trim()) ?? [];
    if (name === undefined || value === undefined) return `'${line.trim()}' is no header`;
    headers[name.toLowerCase()] = value;
  }
  return headers;
}
