/** Tabs that share one socket, in one process: real ports between them, and a gateway that does what a test says. */
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Client, type ClientOptions, type Delivery, type Message } from "../src/index.js";
import { SharedConnections } from "../src/shared_connections.js";
import type { OpenRequest } from "../src/shared_protocol.js";
import { ModelGateway } from "./model_gateway.js";
import { ScriptedGateway, answerLikeTheGateway, delivery, message } from "./scripted_socket.js";

let gateway: ScriptedGateway;
let connections: SharedConnections;
const tabs: Client[] = [];

beforeEach(() => {
  gateway = new ScriptedGateway();
  connections = new SharedConnections(gateway.WebSocket);
});

afterEach(() => {
  for (const tab of tabs.splice(0)) tab.close();
  vi.restoreAllMocks();
});

function open(options: ClientOptions & { identity?: string } = {}): Client {
  const worker = {
    port: { postMessage: (request: unknown, [port]: MessagePort[]) => connections.open(request as OpenRequest, port as MessagePort) },
  };
  const { identity = "ann", ...rest } = options;
  const tab = new Client("http://gateway.test", { shared: { worker, identity }, backoff: { initial: 10 }, ...rest });
  tabs.push(tab);
  return tab;
}

/** Waits for what messages between ports bring about. */
const until = vi.waitFor;

it("have one connection, and each what it asked for", async () => {
  const [first, second] = [open(), open()];
  const heard: unknown[] = [];
  await first.subscribe("orders/#", { onMessage: ({ data }) => heard.push(["first", data]) });
  await second.subscribe("orders/+", { onMessage: ({ data }) => heard.push(["second", data]) });
  await second.subscribe("orders/#", { onMessage: ({ data }) => heard.push(["second too", data]) });
  expect(gateway.sockets).toHaveLength(1);
  expect(gateway.last.commands("subscribe").map(({ filter }) => filter)).toEqual(["orders/#", "orders/+"]);
  gateway.last.push(message("orders/a", 1));
  await until(() => expect(heard).toHaveLength(3));
  expect(heard).toEqual(expect.arrayContaining([["first", 1], ["second", 1], ["second too", 1]]));
  expect(await first.publish("t", 1, { id: "mine" })).toEqual({ id: "mine" });
});

it("hear bytes, gaps and refusals as from the gateway itself", async () => {
  const tab = open();
  const gaps: unknown[] = [];
  const messages: Message[] = [];
  await tab.subscribe("a", { onMessage: (each) => messages.push(each), onGap: (gap) => gaps.push(gap) });
  gateway.last.push({ op: "message", topic: "a", id: "x", time: 1, data_base64: "AP8=", content_type: "image/png" });
  gateway.last.push({ op: "gap", reason: "overflow", filter: "a", dropped: 7 });
  gateway.last.push({ op: "gap", reason: "bus", dropped: null });
  await until(() => expect(gaps).toHaveLength(2));
  expect(messages[0]?.data).toEqual(new Uint8Array([0, 255]));
  expect(gaps).toEqual([{ reason: "overflow", filter: "a", dropped: 7 }, { reason: "bus", dropped: null }]);
  gateway.answer = () => ({ op: "error", code: "forbidden", reason: "no grant" });
  await expect(tab.subscribe("secret")).rejects.toMatchObject({ code: "forbidden", reason: "no grant" });
  await expect(tab.publish("t", 1)).rejects.toMatchObject({ code: "forbidden" });
});

it("lose a subscription that the gateway ends, each of them, and can ask for it again", async () => {
  const [first, second] = [open(), open()];
  const ends: unknown[] = [];
  for (const tab of [first, second]) await tab.subscribe("rooms/5", { onEnd: (error) => ends.push(error) });
  await second.subscribe("rooms/6");
  gateway.last.push({ op: "unsubscribed", filter: "rooms/5" });
  await until(() => expect(ends).toMatchObject([{ code: "forbidden" }, { code: "forbidden" }]));
  const heard: unknown[] = [];
  await first.subscribe("rooms/5", { onMessage: ({ data }) => heard.push(data) });
  expect(gateway.last.commands("subscribe").map(({ filter }) => filter)).toEqual(["rooms/5", "rooms/6", "rooms/5"]);
  gateway.last.push(message("rooms/5", 1));
  await until(() => expect(heard).toEqual([1]));
  expect(gateway.last.commands("unsubscribe")).toEqual([]);
});

it("that are closed take away what was theirs alone, and the last one the connection", async () => {
  const [first, second] = [open(), open()];
  await first.subscribe("a");
  await first.subscribe("b");
  await second.subscribe("a");
  first.close();
  await until(() => expect(gateway.last.commands("unsubscribe").map(({ filter }) => filter)).toEqual(["b"]));
  expect(gateway.last.readyState).toBe(1);
  second.close();
  await until(() => expect(gateway.last.readyState).toBe(3), { timeout: 5000 });
});

it("of different identities share nothing", async () => {
  await open({ identity: "ann" }).connect();
  await open({ identity: "bob" }).connect();
  await open({ identity: "bob" }).connect();
  expect(gateway.sockets).toHaveLength(2);
});

it("are asked for a token when the connection needs one: at first, and when it runs out", async () => {
  const asked: string[] = [];
  const tab = (name: string): Client => open({ token: async () => { asked.push(name); return `of ${name}`; } });
  await tab("first").connect();
  await tab("second").connect();
  expect(asked).toEqual(["first"]);
  gateway.last.push({ op: "error", ref: null, code: "token_expired", reason: "renew" });
  await until(() => expect(gateway.last.commands("auth").map(({ token }) => token)).toEqual(["of first", "of second"]));
  expect(gateway.sockets).toHaveLength(1);
  // One that has none to give is passed over.
  open({ token: () => Promise.reject(new Error("signed out")) }).connect().catch(() => undefined);
  await until(() => expect(tabs.at(-1)?.status.state).toBe("connected"));
  gateway.last.push({ op: "error", ref: null, code: "token_expired", reason: "renew" });
  await until(() => expect(gateway.last.commands("auth")).toHaveLength(3));
});

it("renew by the one connection, each with its own token", async () => {
  const tab = (name: string): Client => open({ token: async () => `of ${name}` });
  await tab("first").connect();
  const second = tab("second");
  await second.connect();
  await second.renew();
  expect(gateway.last.commands("auth").map(({ token }) => token)).toEqual(["of first", "of second"]);
  expect(gateway.sockets).toHaveLength(1);
});

it("come back together, each behind what it has, and all have everything", async () => {
  const model = new ModelGateway();
  connections = new SharedConnections(model.scripted.WebSocket);
  for (const topic of ["orders/a", "orders/a", "orders/b"]) model.publish(topic);
  const heard: [number[], number[]] = [[], []];
  const subscribing = ([0, 1] as const).map((tab) =>
    open().subscribe("orders/#", {
      from: tab === 0 ? "earliest" : { last: 1 },
      onMessage: ({ offset }) => heard[tab].push(offset as number),
    }),
  );
  const stepping = setInterval(() => model.step(), 1);
  await Promise.all(subscribing);
  const state = open().state("orders/+");
  await state.ready;
  model.publish("orders/b");
  await until(() => expect(heard).toEqual([[1, 2, 3, 4], [3, 4]]));
  model.scripted.reachable = false;
  model.scripted.last.fail(1012);
  await until(() => expect(tabs.every((tab) => tab.status.state === "reconnecting")).toBe(true));
  model.publish("orders/a");
  model.scripted.reachable = true;
  await until(() => expect(heard).toEqual([[1, 2, 3, 4, 5], [3, 4, 5]]), { timeout: 5000 });
  await until(() => expect([...state.getSnapshot().values()].map(({ offset }) => offset).sort()).toEqual([4, 5]));
  expect(model.scripted.sockets.filter(({ readyState }) => readyState === 1)).toHaveLength(1);
  clearInterval(stepping);
});

it("work a group off in one of them, and answer by it", async () => {
  const [first, second] = [open(), open()];
  const consumer = first.consume("orders", { group: "billing", credit: 3 });
  await consumer.ready;
  await expect(second.consume("orders", { group: "billing" }).ready).rejects.toMatchObject({ code: "conflict" });
  gateway.last.push(delivery(41));
  const { value } = await consumer[Symbol.asyncIterator]().next();
  expect(await (value as Delivery).ack()).toBe(true);
  expect(gateway.last.commands("ack")).toMatchObject([{ deliveries: ["token-41"] }]);
  first.close();
  await until(() => expect(gateway.last.commands("release")).toHaveLength(1));
  await second.consume("orders", { group: "billing" }).ready;
});

it("get what comes behind an answer that is late, and leave what it made them members of", async () => {
  const [first, second] = [open(), open()];
  await Promise.all([first.connect(), second.connect()]);
  // As the worker's own clock says it.
  const late = { op: "error", code: "timeout", reason: "no reply" };
  gateway.answer = (command) => (command["op"] === "consume" ? late : answerLikeTheGateway(command));
  const errors: unknown[] = [];
  first.on("error", ({ code }) => errors.push(code));
  const consumer = first.consume("orders", { group: "billing" });
  await until(() => expect(errors).toEqual(["timeout"]));
  gateway.last.push(delivery(1));
  const { value } = await consumer[Symbol.asyncIterator]().next();
  expect(value?.offset).toBe(1);
  await expect(second.consume("orders", { group: "billing" }).ready).rejects.toMatchObject({ code: "conflict" });
  first.close();
  await until(() => expect(gateway.last.commands("release")).toHaveLength(1));
});

it("leave a group that the gateway still delivers for when its tab has gone", async () => {
  const tab = open();
  await tab.connect();
  gateway.last.push(delivery(1));
  await until(() => expect(gateway.last.commands("release")).toMatchObject([{ stream: "orders", group: "billing" }]));
});

it("that are closed before they are members leave the group to the others", async () => {
  const [first, second] = [open(), open()];
  await Promise.all([first.connect(), second.connect()]);
  gateway.answer = (command) => (command["op"] === "consume" ? null : answerLikeTheGateway(command));
  const abandoned = first.consume("orders", { group: "billing" });
  abandoned.ready.catch(() => undefined);
  await until(() => expect(gateway.last.commands("consume")).toHaveLength(1));
  await expect(second.consume("orders", { group: "billing" }).ready).rejects.toMatchObject({ code: "conflict" });
  first.close();
  await second.publish("t", 1); // by then the worker knows
  gateway.answer = answerLikeTheGateway;
  const [asked] = gateway.last.commands("consume");
  gateway.last.push({ op: "consuming", ref: asked?.["ref"], stream: "orders", group: "billing", credit: 1 });
  await until(() => expect(gateway.last.commands("release")).toHaveLength(1));
  await second.consume("orders", { group: "billing" }).ready;
});

it("are told why they can't come back", async () => {
  const tab = open();
  await tab.connect();
  gateway.last.push({ op: "error", code: "forbidden", reason: "blocked", fatal: true });
  gateway.last.fail(4403);
  await until(() => expect(tab.status).toMatchObject({ state: "closed", error: { code: "forbidden", reason: "blocked" } }));
});

it("that replace their options miss nothing", async () => {
  const tab = open();
  const heard: unknown[] = [];
  await tab.subscribe("a", { onMessage: ({ data }) => heard.push(data) });
  const changing = tab.subscribe("a", { overflow: "latest" });
  gateway.last.push(message("a", 1));
  await changing;
  gateway.last.push(message("a", 2));
  await until(() => expect(heard).toEqual([1, 2]));
  expect(gateway.last.commands("unsubscribe")).toEqual([]);
});

it("answers by the gateway are given to who asked, however many ask at once", async () => {
  gateway.answer = (command) => (command["op"] === "publish" ? { op: "published", id: String(command["topic"]) } : answerLikeTheGateway(command));
  const all = [open(), open(), open()];
  await Promise.all(all.map((tab) => tab.connect()));
  const receipts = await Promise.all(all.map((tab, index) => tab.publish(`t/${index}`, 1)));
  expect(receipts.map(({ id }) => id)).toEqual(["t/0", "t/1", "t/2"]);
});
