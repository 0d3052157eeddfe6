import { expect, it } from "vitest";
import {
  BURST,
  CAPACITY,
  type Entry,
  Feed,
  HISTORY_SECONDS,
  type NewEntry,
  SHOWN_PER_SECOND,
  sample,
} from "../src/topics/feed.js";

const message = (number: number, receivedAt = 0): NewEntry => ({
  kind: "message",
  receivedAt,
  message: { topic: "t", id: String(number), time: 0, data: number },
});
const ids = (entries: readonly Entry[]): string[] =>
  entries.map((entry) => (entry.kind === "message" ? entry.message.id : "gap"));

it("shows each entry once, newest first", () => {
  const feed = new Feed();
  feed.add(message(1));
  feed.add({ kind: "gap", receivedAt: 0, gap: { reason: "bus", dropped: null } });
  feed.add(message(2));
  expect(feed.take(0)).toBe(true);
  expect(ids(feed.entries)).toEqual(["2", "gap", "1"]);
  expect(feed.take(0)).toBe(false);
  feed.add(message(3));
  feed.take(0);
  expect(ids(feed.entries)).toEqual(["3", "2", "gap", "1"]);
  expect(feed.total).toBe(3);
});

it("keeps no more than its capacity, the newest, and counts all", () => {
  const feed = new Feed();
  for (let number = 1; number <= 10_000; number += 1) feed.add(message(number));
  feed.take(0);
  expect(feed.entries.length).toBeLessThanOrEqual(CAPACITY);
  expect(ids(feed.entries)[0]).toBe("10000");
  expect(feed.total).toBe(10_000);
  expect(feed.leftOut).toBe(10_000 - feed.entries.length);
});

it("leaves nothing out of a burst that the list has room for", () => {
  const feed = new Feed();
  for (let number = 1; number <= BURST; number += 1) feed.add(message(number));
  feed.take(0);
  expect(feed.entries).toHaveLength(BURST);
  expect(feed.leftOut).toBe(0);
});

it("has an even sample of a flood, and says how many it left out", () => {
  const feed = new Feed();
  const seconds = 30;
  let number = 0;
  const seen = new Set<string>();
  for (let tenth = 1; tenth <= seconds * 10; tenth += 1) {
    for (let each = 0; each < 100; each += 1) feed.add(message((number += 1)));
    feed.take(tenth * 100);
    expect(ids(feed.entries)[0]).toBe(String(number)); // the newest always
    for (const id of ids(feed.entries)) seen.add(id);
  }
  expect(seen.size + feed.leftOut).toBe(number);
  expect(seen.size).toBeLessThanOrEqual(BURST + seconds * SHOWN_PER_SECOND + seconds * 10);
  expect(seen.size).toBeGreaterThan(seconds * SHOWN_PER_SECOND * 0.9);
});

it("samples evenly, and never leaves out a gap", () => {
  const entries: Entry[] = Array.from({ length: 100 }, (_, index) => ({ ...message(index), number: index }));
  expect(ids(sample(entries, 10))).toEqual(["9", "19", "29", "39", "49", "59", "69", "79", "89", "99"]);
  entries[5] = { kind: "gap", number: 5, receivedAt: 0, gap: { reason: "bus", dropped: 1 } };
  expect(ids(sample(entries, 1))).toEqual(["gap", "99"]);
  expect(ids(sample(entries, 0))).toEqual(["gap", "99"]);
});

it("shows nothing while paused, counts what arrives, and shows it afterwards", () => {
  const feed = new Feed();
  feed.pause();
  feed.add(message(1));
  feed.add(message(2));
  expect(feed.take(0)).toBe(false);
  expect(feed.arrivedWhilePaused).toBe(2);
  feed.resume();
  feed.take(0);
  expect(ids(feed.entries)).toEqual(["2", "1"]);
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
  feed.take(5_000);
  feed.take(1_000);
  expect(feed.entries).toHaveLength(2);
});
