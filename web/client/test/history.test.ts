import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Client, type Gap, type Message, type Positions } from "../src/index.js";
import { ScriptedGateway, answerLikeTheGateway, message } from "./scripted_socket.js";

let gateway: ScriptedGateway;
let client: Client;

beforeEach(async () => {
  vi.useFakeTimers();
  gateway = new ScriptedGateway();
  client = new Client("http://gateway.test", { WebSocket: gateway.WebSocket });
  await client.connect();
});

afterEach(() => {
  client.close();
  vi.useRealTimers();
});

function orders(offset: number, epoch = "e1"): Positions {
  return { orders: { epoch, offset } };
}

function beginsAt(positions: Positions, recovered: boolean | null = null): void {
  gateway.answer = (command) =>
    command["op"] === "subscribe"
      ? { op: "subscribed", filter: command["filter"], positions, recovered }
      : answerLikeTheGateway(command);
}

function stored(offset: number, fields: Record<string, unknown> = {}): Record<string, unknown> {
  return message("orders/eu", offset, { stream: "orders", offset, ...fields });
}

async function reconnect(): Promise<void> {
  gateway.last.fail(1012);
  // The wait is drawn by lot, and longer after a connection that was short.
  while (client.status.state !== "connected") await vi.advanceTimersToNextTimerAsync();
}

it("history comes first, then caught_up, then what is live", async () => {
  beginsAt(orders(0));
  const heard: unknown[] = [];
  const subscription = await client.subscribe("orders/#", {
    from: "earliest",
    onMessage: ({ data }) => heard.push(data),
    onCaughtUp: () => heard.push("caught up"),
  });
  expect(gateway.last.commands("subscribe")[0]).toMatchObject({ filter: "orders/#", from: "earliest" });
  gateway.last.push(stored(2)); // for others: this subscription is not live yet
  gateway.last.push(stored(1, { filter: "orders/#" }));
  gateway.last.push(stored(2, { filter: "orders/#" }));
  expect(subscription.caughtUp).toBe(false);
  gateway.last.push({ op: "caught_up", filter: "orders/#" });
  gateway.last.push(stored(3));
  expect(heard).toEqual([1, 2, "caught up", 3]);
  expect(subscription.caughtUp).toBe(true);
  expect(subscription.positions).toEqual(orders(3));
});

it("frames right behind the answer are not lost", async () => {
  const heard: unknown[] = [];
  gateway.answer = () => null;
  const subscribing = client.subscribe("orders/#", { from: "earliest", onMessage: ({ data }) => heard.push(data) });
  const { ref } = gateway.last.commands("subscribe")[0] as { ref: number };
  gateway.last.push({ op: "subscribed", filter: "orders/#", positions: orders(0), recovered: null, ref });
  gateway.last.push(stored(1, { filter: "orders/#" }));
  await subscribing;
  expect(heard).toEqual([1]);
  gateway.answer = answerLikeTheGateway;
});

it("a message at or before the position is skipped", async () => {
  beginsAt(orders(7));
  const heard: unknown[] = [];
  await client.subscribe("orders/#", { onMessage: ({ data }) => heard.push(data) });
  gateway.last.push(stored(7));
  gateway.last.push(stored(8));
  gateway.last.push(message("orders/live", "live"));
  expect(heard).toEqual([8, "live"]);
});

it("a reconnect goes on behind what was received, without a gap", async () => {
  beginsAt(orders(7));
  const gaps: Gap[] = [];
  client.on("gap", (gap) => gaps.push(gap));
  const subscription = await client.subscribe("orders/#");
  gateway.last.push(stored(8));
  gateway.last.push(stored(9));
  const reader = subscription[Symbol.asyncIterator]();
  expect((await reader.next()).value?.data).toBe(8);
  beginsAt(orders(9), true);
  await reconnect();
  expect(gateway.last.commands("subscribe")[0]).toMatchObject({ resume: orders(9) });
  expect(subscription.positions).toEqual(orders(8)); // 9 waits: after a crash it is asked for again
  gateway.last.push(stored(10, { filter: "orders/#" }));
  const taken = [(await reader.next()).value, (await reader.next()).value] as Message[];
  expect(taken.map(({ data }) => data)).toEqual([9, 10]);
  expect(subscription.positions).toEqual(orders(10));
  expect(gaps).toEqual([]);
});

it("what is not recovered is a gap, and a new epoch is resumed from", async () => {
  beginsAt(orders(7));
  const gaps: Gap[] = [];
  const subscription = await client.subscribe("orders/#", { onGap: (gap) => gaps.push(gap), onMessage: () => undefined });
  gateway.last.push({ op: "gap", reason: "epoch", filter: "orders/#", stream: "orders", epoch: "e2", dropped: null });
  gateway.last.push(stored(3));
  expect(subscription.positions).toEqual(orders(3, "e2"));
  beginsAt(orders(5, "e2"), false);
  await reconnect();
  expect(gateway.last.commands("subscribe")[0]).toMatchObject({ resume: orders(3, "e2") });
  gateway.last.push({ op: "gap", reason: "trimmed", filter: "orders/#", stream: "orders", from: 4, to: 5, dropped: 2 });
  expect(subscription.positions).toEqual(orders(5, "e2"));
  expect(gaps.map(({ reason }) => reason)).toEqual(["epoch", "reconnect", "trimmed"]);
  expect(gaps[0]?.epoch).toBe("e2");
});

it("a new epoch goes on where the gap says", async () => {
  beginsAt(orders(7));
  const gaps: Gap[] = [];
  const subscription = await client.subscribe("orders/#", { onGap: (gap) => gaps.push(gap), onMessage: () => undefined });
  gateway.last.push({ op: "gap", reason: "epoch", filter: "orders/#", stream: "orders", epoch: "e2", offset: 6, dropped: null });
  expect(subscription.positions).toEqual(orders(6, "e2"));
  expect(gaps[0]?.offset).toBe(6);
});

it("kept positions are handed over, and only earliest is asked for again", async () => {
  beginsAt(orders(4), true);
  await client.subscribe("orders/#", { resume: orders(4), from: { last: 3 } });
  await client.subscribe("#", { from: "earliest" });
  await client.subscribe("orders/+", { from: { last_per_topic: 2 } });
  expect(gateway.last.commands("subscribe")[2]).toMatchObject({ from: { last_per_topic: 2 } });
  expect(gateway.last.commands("subscribe")[0]).toMatchObject({ resume: orders(4), from: { last: 3 } });
  await reconnect();
  const [narrow, wide] = gateway.last.commands("subscribe");
  expect(narrow).toMatchObject({ resume: orders(4) });
  expect(narrow).not.toHaveProperty("from");
  expect(wide).toMatchObject({ resume: orders(4), from: "earliest" });
});

it("the buffer tells caught_up once its history is taken", async () => {
  const subscription = await client.subscribe("orders/#", { from: "earliest" });
  gateway.last.push(stored(1, { filter: "orders/#" }));
  gateway.last.push({ op: "caught_up", filter: "orders/#" });
  gateway.last.push(stored(2));
  const reader = subscription[Symbol.asyncIterator]();
  await reader.next();
  expect(subscription.caughtUp).toBe(false);
  await reader.next();
  expect(subscription.caughtUp).toBe(true);
});

it("a snapshot that broke off begins anew, and one that is whole is resumed", async () => {
  beginsAt(orders(9));
  const subscription = await client.subscribe("orders/#", { from: "snapshot", onMessage: () => undefined });
  gateway.last.push(stored(4, { filter: "orders/#", snapshot: true }));
  gateway.last.push(stored(12, { filter: "orders/#" }));
  expect(subscription.positions).toEqual({});
  await reconnect();
  const again = gateway.last.commands("subscribe")[0];
  expect(again).toMatchObject({ filter: "orders/#", from: "snapshot" });
  expect(again).not.toHaveProperty("resume");
  gateway.last.push({ op: "caught_up", filter: "orders/#" });
  expect(subscription.positions).toEqual(orders(9));
  await reconnect();
  expect(gateway.last.commands("subscribe")[0]).toMatchObject({ from: "snapshot", resume: orders(9) });
});

it("positions are told once the loop has taken the whole snapshot", async () => {
  beginsAt(orders(9));
  const subscription = await client.subscribe("orders/#", { from: "snapshot" });
  gateway.last.push(stored(3, { filter: "orders/#", snapshot: true }));
  gateway.last.push(stored(4, { filter: "orders/#", snapshot: true }));
  gateway.last.push({ op: "caught_up", filter: "orders/#" });
  const messages = subscription[Symbol.asyncIterator]();
  expect((await messages.next()).value).toMatchObject({ offset: 3, snapshot: true });
  expect(subscription.positions).toEqual({});
  expect((await messages.next()).value).toMatchObject({ offset: 4 });
  expect(subscription.positions).toEqual(orders(9));
});
