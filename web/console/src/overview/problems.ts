/** What is wrong now, in words, each with the room where one can do something about it. */
import type { Node } from "../gateway/nodes.js";
import { type Series, type Values, highest, newest, sum } from "../gateway/series.js";
import { href } from "../router.js";
import { count, duration, plural } from "../ui/format.js";

export interface Wrong {
  readonly id: string;
  readonly kind: "bad" | "warn";
  readonly words: string;
  readonly to: string;
}

/** Over how many seconds what has happened still counts as now. */
const NOW = 60;
const LATE_MILLISECONDS = 100;
/** A queue grows if it has done so for so many looks, by so much of what it was. */
const LOOKS = 12;
const GROWN = 1.2;

const POLICIES = ["spill", "drop_oldest", "drop_newest", "latest", "disconnect"] as const;

export function whatIsWrong(series: Series, nodes: readonly Node[]): readonly Wrong[] {
  return [
    ...ofNodes(series, nodes),
    ...ofParts(series),
    ...ofConsumers(series),
    ...ofGroups(series),
    ...ofLimits(series),
  ];
}

function* ofNodes(series: Series, nodes: readonly Node[]): Iterable<Wrong> {
  for (const node of nodes) {
    const to = href(["nodes"], { node: node.node });
    const away = node.away ?? [];
    if (away.length > 0)
      yield {
        id: `away ${node.node}`,
        kind: "bad",
        words: `Node ${node.node} (${node.name}) can't reach ${away.join(", ")}.`,
        to,
      };
    else if (node.status != null && node.status !== "ready") {
      const why = (node.reasons ?? []).join("; ");
      yield {
        id: `status ${node.node}`,
        kind: "warn",
        words: `Node ${node.node} (${node.name}) is ${node.status}${why === "" ? "" : `: ${why}`}.`,
        to,
      };
    }
  }
  const { missing } = series.reach;
  if (missing.length > 0)
    yield {
      id: "missing",
      kind: "bad",
      words: `${plural(missing.length, "node")} did not answer: ${missing.join(", ")}.`,
      to: "#/nodes",
    };
  const lag = highest(series.values("lag_ms"), 10);
  if (lag !== null && lag > LATE_MILLISECONDS)
    yield { id: "lag", kind: "warn", words: `An event loop is late, by ${duration(lag)}.`, to: "#/nodes" };
}

function* ofParts(series: Series): Iterable<Wrong> {
  const happened = (name: string): number => sum(series.values(name), NOW);
  const failed = happened("store_failed");
  if (failed > 0)
    yield {
      id: "store",
      kind: "bad",
      words: `${plural(failed, "message")} could not be stored in the last minute.`,
      to: "#/nodes",
    };
  const lost = happened("bus_lost");
  if (lost > 0)
    yield {
      id: "bus_lost",
      kind: "bad",
      words: `${plural(lost, "message")} of other nodes went missing on the way in the last minute.`,
      to: "#/nodes",
    };
  const unconfirmed = happened("bus_failed");
  if (unconfirmed > 0)
    yield {
      id: "bus_failed",
      kind: "warn",
      words: `Redis did not confirm ${plural(unconfirmed, "message")} in the last minute.`,
      to: "#/nodes",
    };
}

function* ofConsumers(series: Series): Iterable<Wrong> {
  const to = href(["connections"], { slow: "yes" });
  const slow = series.latest("slow_consumers") ?? 0;
  if (slow > 0)
    yield {
      id: "slow",
      kind: "warn",
      words: `${plural(slow, "connection")} ${slow === 1 ? "takes" : "take"} nothing now.`,
      to,
    };
  const behind = series.latest("behind") ?? 0;
  if (behind > 0)
    yield {
      id: "behind",
      kind: "warn",
      words: `Slow consumers read on from streams: ${count(behind)} of them are behind.`,
      to,
    };
  const dropped = POLICIES.map((policy) => [policy, sum(series.values(`dropped_${policy}`), NOW)] as const).filter(
    ([, many]) => many > 0,
  );
  if (dropped.length > 0) {
    const all = dropped.reduce((total, [, many]) => total + many, 0);
    const parts = dropped.map(([policy, many]) => `${policy} ${count(many)}`).join(", ");
    yield {
      id: "dropped",
      kind: "bad",
      words: `${plural(all, "delivery was", "deliveries were")} lost to slow consumers in the last minute (${parts}).`,
      to,
    };
  }
}

function* ofGroups(series: Series): Iterable<Wrong> {
  for (const name of series.groups) {
    const [stream = "", group = ""] = name.split("/");
    const depth = series.group(name, "depth");
    if (grows(depth)) {
      const before = depth.at(-LOOKS) ?? 0;
      yield {
        id: `grows ${name}`,
        kind: "warn",
        words: `The queue ${name} grows: ${count(before)} to ${count(newest(depth))} in the last minute.`,
        to: href(["queues", stream, group]),
      };
    }
    const dead = newest(series.group(name, "dead")) ?? 0;
    if (dead > 0)
      yield {
        id: `dead ${name}`,
        kind: "warn",
        words: `${plural(dead, "dead letter")} in ${name}.`,
        to: href(["dead-letters"], { group: name }),
      };
    const [lost, lostBefore] = [
      newest(series.group(name, "lost")) ?? 0,
      series.group(name, "lost").find((value) => value !== null) ?? 0,
    ];
    if (lost > lostBefore) {
      yield {
        id: `lost ${name}`,
        kind: "bad",
        words: `Retention took ${plural(lost - lostBefore, "message")} from ${name} before anybody had done them.`,
        to: href(["queues", stream, group]),
      };
    }
  }
}

/** Whether it was never smaller than the look before, and is clearly more than it was. */
export function grows(depth: Values): boolean {
  const looks = depth.slice(-LOOKS).filter((value) => value !== null);
  const [first, last] = [looks[0], looks.at(-1)];
  if (looks.length < LOOKS || first === undefined || last === undefined) return false;
  return last > first * GROWN && last - first >= 10 && looks.every((value, index) => value >= (looks[index - 1] ?? 0));
}

function* ofLimits(series: Series): Iterable<Wrong> {
  const refused = sum(series.values("refused"), NOW);
  if (refused === 0) return;
  const most = Object.entries(series.refused)
    .filter(([, many]) => (many ?? 0) > 0)
    .sort(([, one], [, other]) => (other ?? 0) - (one ?? 0))
    .slice(0, 3)
    .map(([limit]) => limit);
  const which = most.length === 0 ? "" : ` Most often so far: ${most.join(", ")}.`;
  yield {
    id: "refused",
    kind: "warn",
    words: `${plural(refused, "request was", "requests were")} refused in the last minute.${which}`,
    to: href(["settings"], { search: "limits" }),
  };
}
