import { expect, it, vi } from "vitest";
import type { Node } from "../src/gateway/nodes.js";
import { Series } from "../src/gateway/series.js";

// The address is the browser's; here only links are made of it.
vi.stubGlobal("location", { hash: "" });
vi.stubGlobal("addEventListener", () => undefined);
const { grows, whatIsWrong } = await import("../src/overview/problems.js");

function seriesOf(figures: Record<string, number>, groups: Record<string, Record<string, number[]>> = {}): Series {
  const series = new Series();
  series.load({
    nodes: ["n1"],
    missing: [],
    complete: true,
    end: 60_000,
    step_ms: 1000,
    series: Object.fromEntries(Object.entries(figures).map(([name, value]) => [name, [0, value]])),
    held: { end: 60_000, step_ms: 5000, streams: {}, groups },
    by_node: {},
    refused: { origin: 3, rate: 9 },
  });
  return series;
}

const node = (over: Partial<Node>): Node => ({
  node: "n1",
  name: "host",
  version: "1",
  started: 0,
  connections: 0,
  subscriptions: 0,
  streams: "",
  silent_seconds: 0,
  status: "ready",
  reasons: [],
  away: [],
  ...over,
});
const words = (series: Series, nodes: Node[] = [node({})]) => whatIsWrong(series, nodes).map((each) => each.words);

it("says nothing where nothing is wrong", () => {
  expect(
    words(
      seriesOf(
        { publications: 1000, deliveries: 1e6, lag_ms: 3 },
        { "orders/billing": { depth: [5, 6], dead: [0, 0], lost: [0, 0] } },
      ),
    ),
  ).toEqual([]);
});

it("names a part that is away, a node that isn't well, and one that is late", () => {
  expect(
    words(seriesOf({ lag_ms: 250 }), [
      node({ away: ["redis"], status: "degraded" }),
      node({ node: "n2", status: "degraded", reasons: ["disk nearly full"] }),
    ]),
  ).toEqual([
    "Node n1 (host) can't reach redis.",
    "Node n2 (host) is degraded: disk nearly full.",
    "An event loop is late, by 250 ms.",
  ]);
});

it("tells losses by policy, and what was refused for which limit", () => {
  const wrong = words(seriesOf({ slow_consumers: 1, dropped_latest: 2, dropped_drop_oldest: 1, refused: 4 }));
  expect(wrong).toEqual([
    "1 connection takes nothing now.",
    "3 deliveries were lost to slow consumers in the last minute (drop_oldest 1, latest 2).",
    "4 requests were refused in the last minute. Most often so far: rate, origin.",
  ]);
});

it("tells a queue that grows, dead letters and losses, each with the way to its room", () => {
  const depth = Array.from({ length: 12 }, (_, index) => 100 + index * 20);
  const wrong = whatIsWrong(seriesOf({}, { "orders/billing": { depth, dead: [0, 2], lost: [1, 4] } }), [node({})]);
  expect(wrong.map((each) => [each.words, each.to])).toEqual([
    ["The queue orders/billing grows: 100 to 320 in the last minute.", "#/queues/orders/billing"],
    ["2 dead letters in orders/billing.", "#/dead-letters?group=orders%2Fbilling"],
    ["Retention took 3 messages from orders/billing before anybody had done them.", "#/queues/orders/billing"],
  ]);
});

it("a queue that goes up and down, or up by little, doesn't grow", () => {
  expect(grows(Array.from({ length: 12 }, (_, index) => index * 10))).toBe(true);
  expect(grows(Array.from({ length: 12 }, (_, index) => index * 10 - (index === 6 ? 50 : 0)))).toBe(false);
  expect(grows(Array.from({ length: 12 }, (_, index) => 1000 + index))).toBe(false);
  expect(grows([1, 1000])).toBe(false);
});
