/** The tail's filters, where they begin, its figures, and what can be done with the list. */
import { filterProblem } from "@fanout-gateway/client";
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { count } from "../ui/format.js";
import { Field } from "../ui/parts.js";
import { CHOICES, inWords } from "./beginning.js";
import { tail } from "./tail.js";

export interface Asked {
  readonly filters: readonly string[];
  readonly from: string;
}

export function FilterForm({ asked, onAsk }: { asked: Asked; onAsk: (asked: Asked) => void }): JSX.Element {
  const [typed, setTyped] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  const submit = (): void => {
    const wrong = asked.filters.includes(typed) ? `already subscribed to ${typed}` : filterProblem(typed);
    setProblem(wrong);
    if (wrong !== null) return;
    onAsk({ ...asked, filters: [...asked.filters, typed] });
    setTyped("");
  };
  return (
    <section class="subscribe" aria-label="Subscribe">
      <form
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          submit();
        }}
      >
        <Field
          label="Topic filter"
          class="grow"
          problem={problem ?? tail.problem.value}
          hint="'+' stands for one level, '#' at the end for all that follow"
        >
          {(given) => (
            <input
              {...given}
              name="filter"
              autocomplete="off"
              spellcheck={false}
              autocapitalize="none"
              placeholder="orders/#"
              value={typed}
              onInput={(event) => {
                const value = event.currentTarget.value;
                setTyped(value);
                tail.problem.value = null;
                setProblem(value === "" ? null : filterProblem(value));
              }}
            />
          )}
        </Field>
        <Begin from={asked.from} onChoose={(from) => onAsk({ ...asked, from })} />
        <button type="submit" class="primary">
          Subscribe
        </button>
      </form>
      <ul class="chips" aria-label="Subscribed filters">
        {tail.filters.value.map(({ filter, pending }) => (
          <li key={filter} class={`chip ${pending ? "pending" : ""}`}>
            <code>{filter}</code>
            <span class="count">{count(tail.count(filter))}</span>
            <button
              type="button"
              aria-label={`Unsubscribe from ${filter}`}
              onClick={() => onAsk({ ...asked, filters: asked.filters.filter((other) => other !== filter) })}
            >
              ×
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

/** Where filters begin; a time and an offset are typed. */
function Begin({ from, onChoose }: { from: string; onChoose: (from: string) => void }): JSX.Element {
  const [asking, setAsking] = useState<"time" | "offset" | null>(null);
  const given = CHOICES.some((choice) => choice.text === from);
  const choose = (value: string): void => {
    if (value === "?time" || value === "?offset") setAsking(value === "?time" ? "time" : "offset");
    else {
      setAsking(null);
      onChoose(value);
    }
  };
  return (
    <>
      <Field label="Begin">
        {(control) => (
          <select
            {...control}
            value={asking === null ? from : `?${asking}`}
            onChange={(event) => choose(event.currentTarget.value)}
          >
            {CHOICES.map((choice) => (
              <option key={choice.text} value={choice.text}>
                {choice.title}
              </option>
            ))}
            {!given && <option value={from}>{inWords(from)}</option>}
            <option value="?time">At a time …</option>
            <option value="?offset">At an offset …</option>
          </select>
        )}
      </Field>
      {asking !== null && (
        <Field label={asking === "time" ? "Time" : "Offset"}>
          {(control) => (
            <input
              {...control}
              type={asking === "time" ? "datetime-local" : "number"}
              min={asking === "offset" ? 1 : undefined}
              onChange={(event) => {
                const { value } = event.currentTarget;
                const number = asking === "time" ? new Date(value).getTime() : Number(value);
                if (Number.isInteger(number) && number > 0) choose(`${asking}:${number}`);
              }}
            />
          )}
        </Field>
      )}
    </>
  );
}

const WIDTH = 100;
const HEIGHT = 22;

/** The counts of the moment, and the way to hold the list still. `onPause` is told what it is from now on. */
export function Figures({ onClear }: { onClear: () => void }): JSX.Element {
  const { feed } = tail;
  const [, redraw] = useState(0);
  const rates = feed.rates(Date.now());
  const toggle = (): void => {
    if (feed.paused) feed.resume();
    else feed.pause();
    redraw((times) => times + 1);
  };
  const highest = Math.max(1, ...rates);
  const points = rates.map((rate, index) => {
    const x = WIDTH - (index * WIDTH) / (rates.length - 1);
    return `${x.toFixed(1)},${(HEIGHT - 2 - (rate / highest) * (HEIGHT - 4)).toFixed(1)}`;
  });
  return (
    <div class="toolbar">
      <svg class="sparkline" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} width={WIDTH} height={HEIGHT} aria-hidden="true">
        <polyline fill="none" points={points.join(" ")} />
      </svg>
      <span>
        <strong id="rate">{count(rates[0] ?? 0)}</strong> a second
      </span>
      <span>
        <strong id="total">{count(feed.total)}</strong> in all
      </span>
      <span class="missed" role="status">
        {feed.paused ? `paused, ${count(feed.arrivedWhilePaused)} arrived since` : ""}
      </span>
      <span
        class="sampled"
        title="More arrive than anybody can read: the list has an even sample, the counts and the tree have all"
      >
        {feed.leftOut > 0 ? `sampled: ${count(feed.leftOut)} not in the list` : ""}
      </span>
      <span class="push" />
      <button type="button" aria-pressed={feed.paused} onClick={toggle}>
        {feed.paused ? "Resume" : "Pause"}
      </button>
      <button type="button" onClick={onClear}>
        Clear
      </button>
    </div>
  );
}
