/** Sending a delivery to a hook from the page, and seeing what becomes of it. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { Problem, address, authorization, inWords, path, reach, toProblem } from "../gateway/api.js";
import { Dialog } from "../ui/dialog.js";
import { Field, Notice } from "../ui/parts.js";
import type { Hook } from "./hooks.js";
import { SIGNERS } from "./signing.js";

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
          <TryForm hook={hook} onSent={onSent} />
        </Dialog>
      )}
    </>
  );
}

function TryForm({ hook, onSent }: { hook: Hook; onSent: () => void }): JSX.Element {
  const signer = SIGNERS[hook.scheme];
  const [body, setBody] = useState('{"repository": {"full_name": "acme/shop"}}');
  const [headers, setHeaders] = useState("content-type: application/json");
  const [secret, setSecret] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  const [outcome, setOutcome] = useState<Outcome | null>(null);
  const submit = async (): Promise<void> => {
    const own = readHeaders(headers);
    if (typeof own === "string") return setProblem(own);
    setProblem(null);
    try {
      const signed = signer !== undefined && secret !== "" ? await signer(body, secret, Date.now()) : {};
      setOutcome(await send(hook, body, { ...signed, ...own }));
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
      <Field label="Headers" problem={problem} hint="one a line, name: value; they win over those of the signature">
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
      {signer !== undefined && (
        <Field
          label="Secret"
          hint="signs the delivery in this page, and is not kept; empty: the delivery is not signed"
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
      {signer === undefined && hook.scheme !== "none" && (
        <p class="muted">
          The page can't sign for {hook.scheme}. On the gateway's machine <code>gateway hooks test {hook.name}</code>{" "}
          does.
        </p>
      )}
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

async function send(hook: Hook, body: string, headers: Readonly<Record<string, string>>): Promise<Outcome> {
  // Where nothing is signed it is the credential that vouches for it; elsewhere it has no business.
  const credential = hook.scheme === "none" ? authorization() : {};
  const response = await reach(address(path("hooks", hook.name)), {
    method: "POST",
    body,
    headers: { ...headers, ...credential },
  });
  if (response.ok) return { good: true, words: `${response.status} ${(await response.text()) || response.statusText}` };
  const problem: Problem = await toProblem(response);
  return { good: false, words: `${problem.status} ${problem.code}: ${problem.message}` };
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
