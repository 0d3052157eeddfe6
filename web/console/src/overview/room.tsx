/** How the gateway is: what is wrong in words, the figures of now, the last 15 minutes as plots. */
import type { JSX } from "preact";
import { listNodes } from "../gateway/nodes.js";
import { usePoll } from "../gateway/poll.js";
import { highest, mean, sum, together } from "../gateway/series.js";
import { beat, loaded, series, trouble } from "../gateway/statistics.js";
import { count, duration, plural, short, size } from "../ui/format.js";
import { Card, Figure, Notice, Room, Tag } from "../ui/parts.js";
import { type Line, Plot } from "../ui/plot.js";
import { whatIsWrong } from "./problems.js";

const DROPS = [
  "dropped_spill",
  "dropped_drop_oldest",
  "dropped_drop_newest",
  "dropped_latest",
  "dropped_disconnect",
] as const;
const FIFTEEN_MINUTES = 900;

export function OverviewRoom(): JSX.Element {
  void beat.value;
  const { nodes } = series.reach;
  return (
    <Room title="Overview" aside={loaded.value && <span>{plural(nodes.length, "node")}, the last 15 minutes</span>}>
      {trouble.value !== null && <Notice kind="warn">No new figures: {trouble}.</Notice>}
      <Wrongs />
      <Now />
      <Plots />
    </Room>
  );
}

function Wrongs(): JSX.Element {
  const nodes = usePoll("nodes", 3, listNodes).state.value.value?.nodes ?? [];
  const wrong = whatIsWrong(series, nodes);
  return (
    <Card title="What is wrong now" class="wrongs">
      <div role="status">
        <ul class="plain">
          {wrong.map((each) => (
            <li key={each.id} class="wrong">
              <Tag kind={each.kind}>{each.kind === "bad" ? "wrong" : "look"}</Tag> <a href={each.to}>{each.words}</a>
            </li>
          ))}
          {wrong.length === 0 && (
            <li class="wrong">
              <Tag kind="good">well</Tag> {loaded.value ? "Nothing is wrong." : "Loading …"}
            </li>
          )}
        </ul>
      </div>
    </Card>
  );
}

function Now(): JSX.Element {
  const perSecond = (name: string): string => short(mean(series.values(name), 5));
  const dropped = sum(together(...DROPS.map((name) => series.values(name))), FIFTEEN_MINUTES);
  const slow = series.latest("slow_consumers") ?? 0;
  return (
    <div class="figures">
      <Figure name="Connections" value={count(series.latest("connections"))} href="#/connections" />
      <Figure name="Subscriptions" value={count(series.latest("subscriptions"))} />
      <Figure name="Published a second" value={perSecond("publications")} href="#/topics" />
      <Figure name="Delivered a second" value={perSecond("deliveries")} />
      <Figure name="Fan-out, 99 %" value={duration(highest(series.values("fanout_p99_ms"), 5))} />
      <Figure name="Slow consumers" value={count(slow)} kind={slow > 0 ? "warn" : ""} href="#/connections?slow=yes" />
      <Figure name="Lost in 15 min" value={count(dropped)} kind={dropped > 0 ? "bad" : ""} />
    </div>
  );
}

interface Drawn {
  readonly title: string;
  readonly format: (value: number | null) => string;
  readonly least?: number;
  readonly bytes?: boolean;
  readonly lines: readonly (Omit<Line, "values"> & { readonly of: readonly string[] })[];
}

const PLOTS: readonly Drawn[] = [
  { title: "Published a second", format: short, lines: [{ label: "messages", color: 1, of: ["publications"] }] },
  { title: "Delivered a second", format: short, lines: [{ label: "deliveries", color: 2, of: ["deliveries"] }] },
  {
    title: "Fan-out latency",
    format: duration,
    least: 0.5,
    lines: [
      { label: "50 %", color: 1, of: ["fanout_p50_ms"] },
      { label: "99 %", color: 3, of: ["fanout_p99_ms"] },
    ],
  },
  { title: "Event loop lag", format: duration, least: 1, lines: [{ label: "worst node", color: 5, of: ["lag_ms"] }] },
  { title: "Connections", format: short, lines: [{ label: "open", color: 1, of: ["connections"] }] },
  {
    title: "Bytes a second",
    format: size,
    bytes: true,
    least: 1024,
    lines: [
      { label: "in", color: 1, of: ["publication_bytes"] },
      { label: "out", color: 2, of: ["delivery_bytes"] },
    ],
  },
  {
    title: "Losses and refusals a second",
    format: short,
    lines: [
      { label: "dropped", color: 4, of: DROPS },
      { label: "spills", color: 3, of: ["spills"] },
      { label: "refused", color: 5, of: ["refused"] },
    ],
  },
  {
    title: "Memory",
    format: size,
    bytes: true,
    least: 16 * 1024 ** 2,
    lines: [{ label: "largest node", color: 2, of: ["memory_bytes"] }],
  },
  {
    title: "Redis and store, 99 %",
    format: duration,
    least: 1,
    lines: [
      { label: "Redis", color: 3, of: ["bus_p99_ms"] },
      { label: "store", color: 1, of: ["store_p99_ms"] },
    ],
  },
  {
    title: "Queues a second",
    format: short,
    lines: [
      { label: "delivered", color: 1, of: ["delivered_to_members"] },
      { label: "done", color: 2, of: ["acknowledged"] },
      { label: "failed", color: 4, of: ["rejected"] },
    ],
  },
];

function Plots(): JSX.Element {
  return (
    <div class="plots">
      {PLOTS.map(({ title, format, least, bytes = false, lines }) => (
        <Card key={title} label={title}>
          <Plot
            title={title}
            times={series.times}
            format={format}
            bytes={bytes}
            {...(least === undefined ? {} : { least })}
            lines={lines.map(({ label, color, of }) => ({
              label,
              color,
              values: of.length === 1 ? series.values(of[0] ?? "") : together(...of.map((name) => series.values(name))),
            }))}
          />
        </Card>
      ))}
    </div>
  );
}
