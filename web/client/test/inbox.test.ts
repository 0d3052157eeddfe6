import { expect, it } from "vitest";
import { GatewayError } from "../src/errors.js";
import { Inbox } from "../src/inbox.js";
import type { Gap, Message } from "../src/wire.js";

const numbered = (number: number): Message => ({ topic: "t", id: String(number), time: 0, data: number });

it("keeps the newest and tells how many it dropped, before the next message", async () => {
  const gaps: Gap[] = [];
  const inbox = new Inbox("t", { bufferSize: 3, onGap: (gap) => gaps.push(gap) }, () => undefined);
  for (let number = 1; number <= 10; number += 1) inbox.offer(numbered(number));

  expect(gaps).toEqual([]);
  const first = await inbox.take();
  expect(gaps).toEqual([{ reason: "buffer", filter: "t", dropped: 7 }]);
  expect(first.value?.data).toBe(8);
  expect(inbox.buffered).toBe(2);
});

it("hands what has arrived to the reader after the end, then is done", async () => {
  const inbox = new Inbox("t", {}, () => undefined);
  inbox.offer(numbered(1));
  inbox.end(null);
  inbox.offer(numbered(2));

  expect((await inbox.take()).value?.data).toBe(1);
  expect(await inbox.take()).toEqual({ done: true, value: undefined });
});

it("wakes waiting readers in order, and with the error at the end", async () => {
  const inbox = new Inbox("t", {}, () => undefined);
  const [first, second, third] = [inbox.take(), inbox.take(), inbox.take()];
  inbox.offer(numbered(1));
  inbox.offer(numbered(2));
  inbox.end(new GatewayError("forbidden", "no longer"));

  expect((await first).value?.data).toBe(1);
  expect((await second).value?.data).toBe(2);
  await expect(third).rejects.toMatchObject({ code: "forbidden" });
});
