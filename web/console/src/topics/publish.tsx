/** The form that publishes one message. */
import { topicProblem } from "@fanout-gateway/client";
import type { JSX } from "preact";
import { useId, useState } from "preact/hooks";
import { credential, inWords } from "../gateway/api.js";
import { client } from "../gateway/session.js";
import { Field } from "../ui/parts.js";
import { publishBody } from "./publish_body.js";
import { publishing } from "./snippets.js";
import { SnippetButton } from "./snippet_dialog.js";

const CONTENT_TYPES = ["application/json", "text/plain", "application/octet-stream"];

interface Draft {
  readonly topic: string;
  readonly contentType: string;
  readonly body: string;
  readonly base64: boolean;
}

// Outside of the component: another room in between doesn't lose what was typed.
let draft: Draft = { topic: "", contentType: "application/json", body: '{"total": 42}', base64: false };

export function PublishForm(): JSX.Element {
  const [form, setForm] = useState(draft);
  const [topicWrong, setTopicWrong] = useState<string | null>(null);
  const [bodyWrong, setBodyWrong] = useState<string | null>(null);
  const [outcome, setOutcome] = useState<{ text: string; bad: boolean }>({ text: "", bad: false });
  const types = useId();
  const change = (changes: Partial<Draft>): void => {
    draft = { ...form, ...changes };
    setForm(draft);
  };
  const publish = async (): Promise<void> => {
    const problem = topicProblem(form.topic);
    setTopicWrong(problem);
    setBodyWrong(null);
    if (problem !== null) return;
    let data: unknown;
    try {
      data = publishBody(form.body, form.contentType, form.base64);
    } catch (error) {
      return setBodyWrong(inWords(error));
    }
    setOutcome({ text: "Publishing …", bad: false });
    try {
      setOutcome({ text: await send(form, data), bad: false });
    } catch (error) {
      setOutcome({ text: inWords(error), bad: true });
    }
  };
  return (
    <form
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        void publish();
      }}
      onKeyDown={(event) => {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void publish();
      }}
    >
      <Field label="Topic" problem={topicWrong}>
        {(given) => (
          <input
            {...given}
            autocomplete="off"
            spellcheck={false}
            placeholder="orders/eu/created"
            value={form.topic}
            onInput={({ currentTarget: { value } }) => {
              change({ topic: value });
              setTopicWrong(value === "" ? null : topicProblem(value));
            }}
          />
        )}
      </Field>
      <Field label="Content type">
        {(given) => (
          <input
            {...given}
            list={types}
            value={form.contentType}
            onInput={(event) => change({ contentType: event.currentTarget.value })}
          />
        )}
      </Field>
      <datalist id={types}>
        {CONTENT_TYPES.map((type) => (
          <option key={type} value={type} />
        ))}
      </datalist>
      <Field label="Body" problem={bodyWrong} hint="Ctrl+Enter publishes">
        {(given) => (
          <textarea
            {...given}
            rows={4}
            spellcheck={false}
            value={form.body}
            onInput={(event) => change({ body: event.currentTarget.value })}
          />
        )}
      </Field>
      <label class="check">
        <input
          type="checkbox"
          checked={form.base64}
          onChange={(event) => change({ base64: event.currentTarget.checked })}
        />
        the body above is base64 of bytes
      </label>
      <div class="submit">
        <button type="submit" class="primary">
          Publish
        </button>
        <SnippetButton
          title="Publish this from elsewhere"
          of={() => publishing(document.baseURI.replace(/#.*/, ""), form, credential.value !== null)}
        />
      </div>
      <output class={`hint ${outcome.bad ? "problem" : ""}`}>{outcome.text}</output>
    </form>
  );
}

async function send(form: Draft, data: unknown): Promise<string> {
  const connection = client.value;
  if (connection === null) throw new Error("not connected");
  const fallback = data instanceof Uint8Array ? "application/octet-stream" : "application/json";
  const receipt = await connection.publish(form.topic, data, { contentType: form.contentType.trim() || fallback });
  const where = receipt.stream === undefined ? "" : ` as ${receipt.stream} @ ${receipt.offset ?? "?"}`;
  return `Published${where}: ${receipt.id}`;
}
