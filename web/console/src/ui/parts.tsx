/** The small parts that every room is made of. */
import type { ComponentChildren, JSX, Ref } from "preact";
import { useId, useState } from "preact/hooks";
import type { Problem } from "../gateway/api.js";
import type { Polled } from "../gateway/poll.js";
import { place, setParameters } from "../router.js";
import { moment } from "./format.js";

interface RoomProps {
  readonly title: string;
  /** Beside the title: figures, a link back. */
  readonly aside?: ComponentChildren;
  readonly actions?: ComponentChildren;
  readonly class?: string;
  readonly children: ComponentChildren;
}

export function Room({ title, aside, actions, class: name = "", children }: RoomProps): JSX.Element {
  return (
    <div class={`room ${name}`}>
      <header class="room-head">
        <h1>{title}</h1>
        <div class="room-aside">{aside}</div>
        <div class="room-actions">{actions}</div>
      </header>
      {children}
    </div>
  );
}

interface CardProps {
  readonly title?: ComponentChildren;
  readonly label?: string;
  readonly actions?: ComponentChildren;
  readonly class?: string;
  readonly children: ComponentChildren;
}

export function Card({ title, label, actions, class: name = "", children }: CardProps): JSX.Element {
  const id = useId();
  return (
    <section class={`card ${name}`} {...(label === undefined ? { "aria-labelledby": id } : { "aria-label": label })}>
      {title !== undefined && (
        <div class="card-head">
          <h2 id={id}>{title}</h2>
          {actions}
        </div>
      )}
      {children}
    </section>
  );
}

interface FieldProps {
  readonly label: string;
  readonly hint?: string;
  readonly problem?: string | null | undefined;
  readonly class?: string;
  /** The control; it is given its `id`, and what describes it. */
  readonly children: (given: { id: string; "aria-describedby": string; "aria-invalid": boolean }) => ComponentChildren;
}

/** A control with its label, and a line beneath for what is wrong with it. */
export function Field({ label, hint = "", problem, class: name = "", children }: FieldProps): JSX.Element {
  const id = useId();
  const wrong = problem !== null && problem !== undefined && problem !== "";
  return (
    <div class={`field ${name}`}>
      <label for={id}>{label}</label>
      {children({ id, "aria-describedby": `${id}-hint`, "aria-invalid": wrong })}
      <span id={`${id}-hint`} class={`hint ${wrong ? "problem" : ""}`} aria-live="polite">
        {wrong ? problem : hint}
      </span>
    </div>
  );
}

/** A text that narrows what is shown, and is in the address under this name. */
export function Narrowing({ label, name }: { label: string; name: string }): JSX.Element {
  return (
    <Field label={label} class="grow">
      {(given) => (
        <input
          {...given}
          spellcheck={false}
          value={place.value.parameters.get(name) ?? ""}
          onInput={(event) => setParameters({ [name]: event.currentTarget.value })}
        />
      )}
    </Field>
  );
}

/** What was chosen from a list, beside it; `box` is what is scrolled to where the page is narrow. */
export function Inspector({
  box,
  empty,
  children,
}: {
  box: Ref<HTMLDivElement>;
  empty: string;
  children: ComponentChildren;
}): JSX.Element {
  return (
    <div ref={box} class="inspector">
      <Card title="Inspector">{children ?? <p class="empty">{empty}</p>}</Card>
    </div>
  );
}

/** Something that is wrong, in words. */
export function Notice({
  kind = "bad",
  children,
}: {
  kind?: "bad" | "warn" | "info" | "good";
  children: ComponentChildren;
}): JSX.Element {
  return (
    <div class={`notice notice-${kind}`} role={kind === "bad" ? "alert" : "status"}>
      {children}
    </div>
  );
}

/** What became of asking the gateway: nothing yet, a refusal, or an answer that grows old. */
export function Answer<Value>({
  of,
  children,
}: {
  of: Polled<Value>;
  children: (value: Value) => ComponentChildren;
}): JSX.Element {
  if (of.value === null) return of.problem === null ? <p class="empty">Loading …</p> : <Refused problem={of.problem} />;
  return (
    <>
      {of.problem !== null && (
        <Notice kind="warn">
          As of {moment(of.at)}: {of.problem.message}
        </Notice>
      )}
      {children(of.value)}
    </>
  );
}

export function Refused({ problem }: { problem: Problem }): JSX.Element {
  return (
    <Notice>
      {problem.message} <code>{problem.code}</code>
    </Notice>
  );
}

/** A list of names and values; what is undefined is left out. */
export function Facts({ of }: { of: readonly (readonly [string, ComponentChildren])[] }): JSX.Element {
  return (
    <dl class="facts">
      {of
        .filter(([, value]) => value !== undefined)
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value ?? "–"}</dd>
          </div>
        ))}
    </dl>
  );
}

/** A figure with its name. */
export function Figure({
  name,
  value,
  kind = "",
  href,
}: {
  name: string;
  value: ComponentChildren;
  kind?: string;
  href?: string | undefined;
}): JSX.Element {
  const inner = (
    <>
      <span class="figure-name">{name}</span>
      <span class={`figure-value ${kind}`}>{value}</span>
    </>
  );
  return href === undefined ? (
    <div class="figure">{inner}</div>
  ) : (
    <a class="figure" href={href}>
      {inner}
    </a>
  );
}

/** How full something is; the number beside it says it too. */
export function Meter({ part, whole, label }: { part: number; whole: number; label: string }): JSX.Element {
  const share = whole > 0 ? Math.min(1, part / whole) : 0;
  const kind = share > 0.8 ? "bad" : share > 0.4 ? "warn" : "";
  return (
    <span class="meter-line">
      <span class="meter" aria-hidden="true">
        <span class={kind} style={{ width: `${share * 100}%` }} />
      </span>
      <span>{label}</span>
    </span>
  );
}

export function Tag({
  kind = "",
  children,
}: {
  kind?: "good" | "warn" | "bad" | "accent" | "";
  children: ComponentChildren;
}): JSX.Element {
  return <span class={`tag ${kind}`}>{children}</span>;
}

/** Copies a text; says so, and where the browser forbids it. */
export function Copy({ text, label = "Copy" }: { text: string | (() => string); label?: string }): JSX.Element {
  const [said, setSaid] = useState<string | null>(null);
  const copy = (): void => {
    const copied =
      navigator.clipboard?.writeText(typeof text === "string" ? text : text()) ??
      Promise.reject(new Error("no clipboard"));
    const tell = (word: string): void => {
      setSaid(word);
      setTimeout(() => setSaid(null), 2000);
    };
    copied.then(
      () => tell("Copied"),
      () => tell("The browser does not allow it"),
    );
  };
  return (
    <button type="button" class="quiet" onClick={copy}>
      <span role="status">{said ?? label}</span>
    </button>
  );
}

export interface Tab {
  readonly id: string;
  readonly title: string;
  readonly href: string;
}

/** Views of one thing, each with an address of its own. */
export function Tabs({ label, tabs, current }: { label: string; tabs: readonly Tab[]; current: string }): JSX.Element {
  return (
    <nav class="tabs" aria-label={label}>
      {tabs.map((tab) => (
        <a key={tab.id} href={tab.href} aria-current={tab.id === current ? "page" : undefined}>
          {tab.title}
        </a>
      ))}
    </nav>
  );
}
