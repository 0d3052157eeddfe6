import { expect, it } from "vitest";
import { CAPACITY, type Entry, Feed, HISTORY_SECONDS } from "../src/topics/feed.js";

const message = (number: number, receivedAt = 0): Entry => ({
  kind: "message",
  receivedAt,
  message: { topic: "t", id: String(number), time: 0, data: number },
});
const ids = (entries: readonly Entry[]): string[] =>
  entries.map((entry) => (entry.kind === "message" ? entry.message.id : "gap"));

it("gives each entry once, oldest first", () => {
  const feed = new Feed();
  feed.add(message(1));
  feed.add({ kind: "gap", receivedAt: 0, gap: { reason: "bus", dropped: null } });
  feed.add(message(2));
  expect(ids(feed.take())).toEqual(["1", "gap", "2"]);
  expect(feed.take()).toEqual([]);
  expect(feed.total).toBe(2);
});

it("keeps no more than its capacity, the newest, and counts all", () => {
  const feed = new Feed();
  for (let number = 1; number <= 10_000; number += 1) feed.add(message(number));
  const taken = ids(feed.take());
  expect(taken).toHaveLength(CAPACITY);
  expect(taken.at(-1)).toBe("10000");
  expect(feed.total).toBe(10_000);
});

it("shows nothing while paused, counts what arrives, and shows it afterwards", () => {
  const feed = new Feed();
  feed.pause();
  feed.add(message(1));
  feed.add(message(2));
  expect(feed.take()).toEqual([]);
  expect(feed.arrivedWhilePaused).toBe(2);
  feed.resume();
  expect(ids(feed.take())).toEqual(["1", "2"]);
  feed.pause();
  expect(feed.arrivedWhilePaused).toBe(0);
});

it("counts by full seconds, the latest first, and forgets old ones", () => {
  const feed = new Feed();
  feed.add(message(1, 5_000));
  feed.add(message(2, 5_999));
  feed.add(message(3, 6_000));
  expect(feed.rates(7_000).slice(0, 3)).toEqual([1, 2, 0]);
  expect(feed.rates(9_500).slice(0, 4)).toEqual([0, 0, 1, 2]);
  expect(feed.rates(7_000_000)).toEqual(new Array(HISTORY_SECONDS).fill(0));
});

it("stays whole when the clock goes back", () => {
  const feed = new Feed();
  feed.add(message(1, 5_000));
  feed.add(message(2, 1_000));
  expect(feed.rates(6_000)[0]).toBe(2);
});
