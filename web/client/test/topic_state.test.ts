import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Client, type Message, type Positions, type TopicChange } from "../src/index.js";
import { PendingChanges, StateView } from "../src/state_view.js";
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

const FILTER = "orders/+";

function value(topic: string, offset: number, data: unknown, fields: Record<string, unknown> = {}): void {
  gateway.last.push(message(topic, data, { stream: "orders", offset, ...fields }));
}

function last(topic: string, offset: number, data: unknown): void {
  value(topic, offset, data, { filter: FILTER, snapshot: true });
}

function caughtUp(): void {
  gateway.last.push({ op: "caught_up", filter: FILTER });
}

function data(snapshot: ReadonlyMap<string, Message>): unknown {
  return Object.fromEntries([...snapshot].map(([topic, each]) => [topic, each.data]));
}

async function settle(): Promise<void> {
  await vi.advanceTimersByTimeAsync(0);
}

async function whole() {
  beginsAt(orders(5));
  const state = client.state(FILTER);
  await settle();
  last("orders/a", 1, 1);
  last("orders/b", 2, 2);
  caughtUp();
  await state.ready;
  return state;
}

function seen({ topic, old, new: next }: TopicChange): unknown[] {
  return [topic, old?.data, next?.data];
}

it("is empty until it is whole, and then another object with every change and only then", async () => {
  beginsAt(orders(5));
  const state = client.state(FILTER);
  let told = 0;
  const stop = state.subscribe(() => (told += 1));
  await settle();
  expect(gateway.last.commands("subscribe")).toMatchObject([{ filter: FILTER, from: "snapshot" }]);
  const empty = state.getSnapshot();
  last("orders/a", 1, 1);
  expect([state.getSnapshot(), state.stale, told]).toEqual([empty, true, 0]);
  expect(state.getSnapshot()).toBe(empty);
  caughtUp();
  await state.ready;
  const first = state.getSnapshot();
  expect([data(first), state.stale, told, state.positions]).toEqual([{ "orders/a": 1 }, false, 1, orders(5)]);
  expect(state.getSnapshot()).toBe(first);
  value("orders/b", 6, undefined, { deleted: true }); // it was not there
  expect(state.getSnapshot()).toBe(first);
  value("orders/a", 7, 2);
  expect([data(state.getSnapshot()), data(first), told]).toEqual([{ "orders/a": 2 }, { "orders/a": 1 }, 2]);
  expect(state.positions).toEqual(orders(7));
  stop();
  value("orders/a", 8, 3);
  expect(told).toBe(2);
});

it("goes on behind its positions after a reconnect, and shows what there was meanwhile", async () => {
  const state = await whole();
  const before = state.getSnapshot();
  beginsAt(orders(5), true);
  gateway.last.fail(1012);
  expect([state.stale, state.getSnapshot() === before]).toEqual([true, true]);
  await vi.advanceTimersByTimeAsync(300);
  expect(gateway.last.commands("subscribe")).toMatchObject([{ from: "snapshot", resume: orders(5) }]);
  value("orders/a", 6, undefined, { filter: FILTER, deleted: true });
  caughtUp();
  expect([data(state.getSnapshot()), state.stale]).toEqual([{ "orders/b": 2 }, false]);
});

it("begins anew where something was purged that it may show, and who only hears is told nothing", async () => {
  const state = await whole();
  const gaps: unknown[] = [];
  await client.subscribe(FILTER, { onMessage: () => undefined, onGap: (gap) => gaps.push(gap) });
  gateway.last.push({ op: "gap", reason: "purged", filter: FILTER, stream: "orders", dropped: null });
  expect([state.stale, gaps]).toEqual([true, []]);
  beginsAt(orders(5));
  await vi.advanceTimersByTimeAsync(1000);
  last("orders/b", 2, 2);
  caughtUp();
  expect([data(state.getSnapshot()), state.stale]).toEqual([{ "orders/b": 2 }, false]);
});

it.each(["epoch", "trimmed", "purged"])("keeps the old view after a gap %s until the new one is whole", async (reason) => {
  const state = await whole();
  const changes = state[Symbol.asyncIterator]();
  const before = state.getSnapshot();
  beginsAt(orders(3, "e2"));
  gateway.last.push({ op: "gap", reason, filter: FILTER, stream: "orders", epoch: "e2", offset: 1, dropped: null });
  value("orders/c", 6, "passed over");
  expect([state.stale, state.getSnapshot() === before]).toEqual([true, true]);
  await vi.advanceTimersByTimeAsync(1000);
  const [, again] = gateway.last.commands("subscribe");
  expect(again).toMatchObject({ from: "snapshot" });
  expect(again).not.toHaveProperty("resume");
  last("orders/b", 2, 2);
  last("orders/c", 3, 3);
  expect([state.stale, state.getSnapshot() === before, state.positions]).toEqual([true, true, orders(5)]);
  caughtUp();
  expect([data(state.getSnapshot()), state.positions]).toEqual([{ "orders/b": 2, "orders/c": 3 }, orders(3, "e2")]);
  const told = [(await changes.next()).value, (await changes.next()).value] as TopicChange[];
  expect(told.map(seen)).toEqual([["orders/c", undefined, 3], ["orders/a", 1, undefined]]);
  expect(state.getSnapshot().get("orders/b")).toBe(before.get("orders/b"));
});

it("begins a snapshot anew where a reconnect can't go on, and another where the first one was cut off", async () => {
  const state = await whole();
  beginsAt(orders(9), false);
  gateway.last.fail(1012);
  await vi.advanceTimersByTimeAsync(300);
  last("orders/c", 8, 8);
  gateway.last.fail(1012);
  beginsAt(orders(10));
  await vi.advanceTimersByTimeAsync(1000);
  expect(gateway.last.commands("subscribe")[0]).not.toHaveProperty("resume");
  last("orders/d", 10, 10);
  expect(data(state.getSnapshot())).toEqual({ "orders/a": 1, "orders/b": 2 });
  caughtUp();
  expect([data(state.getSnapshot()), state.positions]).toEqual([{ "orders/d": 10 }, orders(10)]);
});

it("merges the changes of a topic that nobody takes, and ends its iterator when it is closed", async () => {
  const state = await whole();
  const changes = state[Symbol.asyncIterator]();
  value("orders/a", 6, "x");
  value("orders/c", 7, "y");
  value("orders/a", 8, "z");
  value("orders/c", 9, undefined, { deleted: true });
  const { value: merged } = await changes.next();
  expect([seen(merged as TopicChange), merged?.merged]).toEqual([["orders/a", 1, "z"], 1]);
  const waiting = changes.next();
  const closing = state.close();
  expect(await waiting).toEqual({ done: true, value: undefined });
  await closing;
  expect(gateway.last.commands("unsubscribe")).toHaveLength(1);
  expect([state.stale, state.error, data(state.getSnapshot())]).toEqual([true, null, { "orders/a": "z", "orders/b": 2 }]);
});

it("tells refusals, and too many topics", async () => {
  const bounded = client.state("a/+", { maxTopics: 1 });
  await settle();
  for (const topic of ["a/1", "a/2"]) gateway.last.push(message(topic, 1, { filter: "a/+", snapshot: true }));
  await expect(bounded.ready).rejects.toMatchObject({ code: "too_many" });
  expect([bounded.error?.code, bounded.getSnapshot().size]).toEqual(["too_many", 0]);
  gateway.answer = () => ({ op: "error", code: "forbidden", reason: "no", fatal: false });
  await expect(client.state("b/+").ready).rejects.toMatchObject({ code: "forbidden" });
  expect(() => client.state("c", { maxTopics: 0 })).toThrow(RangeError);
  client.close();
  await expect(client.state("d").ready).rejects.toMatchObject({ code: "closed" });
});

it("forgets what no stream holds where something of it may be lost", () => {
  const view = new StateView(9);
  const live = { topic: "live", id: "1", time: 1, data: 1 };
  const stored = { ...live, topic: "stored", stream: "s", offset: 1 };
  view.begin(null);
  view.receive(stored, null);
  view.receive(live, null);
  view.catchUp({ s: { epoch: "e", offset: 1 } });
  expect(view.passGap({ reason: "bus", dropped: null }).changes.map(seen)).toEqual([["live", 1, undefined]]);
  view.receive(live, null);
  expect(view.begin({ s: { epoch: "e", offset: 1 } }).map(seen)).toEqual([["live", 1, undefined]]);
  expect([...view.shown.keys()]).toEqual(["stored"]);
});

it("takes back what it had of a stream whose new epoch comes while it is built", () => {
  const view = new StateView(9);
  const former = { topic: "a", id: "1", time: 1, data: 1, stream: "s", offset: 1 };
  view.begin(null);
  view.receive(former, null);
  view.receive({ ...former, topic: "b", stream: "other" }, null);
  expect(view.passGap({ reason: "epoch", filter: "#", stream: "s", dropped: null }).anew).toBe(false);
  expect(view.catchUp({}).map(({ topic }) => topic)).toEqual(["b"]);
});

it("a view made of any snapshot, messages, deletions and new beginnings is what there is, and its changes lead there", () => {
  let seed = 7;
  const random = (below: number): number => (seed = (seed * 48271) % 2147483647) % below;
  for (let round = 0; round < 300; round += 1) {
    const view = new StateView(100);
    const pending = new PendingChanges();
    const truth = new Map<string, number>();
    const copy = new Map<string, unknown>();
    let offset = 0;
    let building = false;
    const tell = (changes: readonly TopicChange[]): void => changes.forEach((each) => pending.add(each));
    const publish = (): void => {
      const topic = `t${random(4)}`;
      const deleted = random(3) === 0;
      offset += 1;
      if (deleted) truth.delete(topic);
      else truth.set(topic, offset);
      const fields = deleted ? { data: undefined, deleted: true as const } : { data: offset };
      tell(view.receive({ topic, id: "1", time: 1, stream: "s", offset, ...fields }, null));
    };
    for (let step = 0; step < 40; step += 1) {
      const shown = data(view.shown);
      const kind = random(6);
      if (kind === 0) {
        if (!building && view.following) expect(view.passGap({ reason: "purged", filter: "#", dropped: 1 }).anew).toBe(true);
        building = true;
        tell(view.begin(null));
        for (const [topic, at] of truth) {
          tell(view.receive({ topic, id: "1", time: 1, stream: "s", offset: at, data: at, snapshot: true }, null));
        }
      } else if (kind === 1 && building) {
        building = false;
        tell(view.catchUp({ s: { epoch: "e", offset } }));
      } else if (kind === 2) {
        for (let change = pending.take(); change !== undefined; change = pending.take()) {
          expect(change.old?.data).toEqual(copy.get(change.topic));
          if (change.new === null) copy.delete(change.topic);
          else copy.set(change.topic, change.new.data);
        }
        expect(Object.fromEntries(copy)).toEqual(data(view.shown));
      } else publish();
      if (building) expect(data(view.shown)).toEqual(shown);
      else if (view.following) expect(data(view.shown)).toEqual(Object.fromEntries(truth));
    }
  }
});
