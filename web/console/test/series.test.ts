import { expect, it } from "vitest";
import { type Past, SECONDS, Series, type Tick, growth, mean, sum, together } from "../src/gateway/series.js";

const past = (over: Partial<Past> = {}): Past => ({
  nodes: ["n"],
  missing: [],
  complete: true,
  end: 10_000,
  step_ms: 1000,
  series: { connections: [1, 2, 3] },
  held: { end: 10_000, step_ms: 5000, streams: { orders: { messages: [5, 6] } }, groups: {} },
  by_node: {},
  ...over,
});
const tick = (time: number, series: Tick["series"], held: Tick["held"] = null): Tick => ({
  nodes: ["n"],
  missing: [],
  complete: true,
  time,
  series,
  held,
  by_node: {},
});

it("goes on behind the past, each second once", () => {
  const series = new Series();
  series.load(past());
  series.add(tick(10_000, { connections: 9 }));
  series.add(tick(11_000, { connections: 4 }));
  expect(series.times).toEqual([8, 9, 10, 11]);
  expect(series.values("connections")).toEqual([1, 2, 3, 4]);
});

it("has a hole where a figure is not told, also one that begins later", () => {
  const series = new Series();
  series.load(past());
  series.add(tick(11_000, { new: 1 }));
  expect(series.values("connections")).toEqual([1, 2, 3, null]);
  expect(series.values("new")).toEqual([null, null, null, 1]);
});

it("keeps what is held on times of its own", () => {
  const series = new Series();
  series.load(past());
  series.add(
    tick(
      11_000,
      {},
      { time: 15_000, streams: { orders: { messages: 7 } }, groups: { "orders/billing": { depth: 3 } } },
    ),
  );
  expect(series.heldTimes).toEqual([5, 10, 15]);
  expect(series.stream("orders", "messages")).toEqual([5, 6, 7]);
  expect(series.group("orders/billing", "depth")).toEqual([null, null, 3]);
  expect(series.groups).toEqual(["orders/billing"]);
});

it("begins with nothing where there is nothing yet", () => {
  const series = new Series();
  series.load(
    past({ end: null, series: { connections: [] }, held: { end: null, step_ms: 5000, streams: {}, groups: {} } }),
  );
  series.add(tick(1000, { connections: 1 }));
  expect(series.values("connections")).toEqual([1]);
});

it("stays bounded however long it goes on", () => {
  const series = new Series();
  series.load(past());
  for (let second = 11; second < 2 * SECONDS; second += 1) {
    series.add(
      tick(
        second * 1000,
        { connections: second },
        { time: second * 1000, streams: { [`s${second}`]: { messages: 1 } }, groups: {} },
      ),
    );
  }
  expect(series.times.length).toBeLessThan(SECONDS + 40);
  expect(series.values("connections").length).toBe(series.times.length);
  expect(series.values("connections").at(-1)).toBe(2 * SECONDS - 1);
  expect(series.stream("s20", "messages")).toEqual([]);
});

it("sums, means, adds up and tells growth over holes", () => {
  expect(sum([1, null, 3], 2)).toBe(3);
  expect(mean([null, 2, 4], 3)).toBe(3);
  expect(mean([null], 3)).toBe(null);
  expect(together([1, null], [2, 3])).toEqual([3, 3]);
  expect(together([1], [null, 3])).toEqual([null, 4]);
  expect(growth([10, 20, null, 15], [0, 5, 10, 15])).toEqual([null, 2, null, null]);
});
