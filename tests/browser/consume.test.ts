/** The browser library in Node as a member of groups of a real gateway. */
import { Client, type Delivery } from "@fanout-gateway/client";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { GatewayProcess } from "./gateway_process.js";

// One for each purpose, with how long its deliveries are given for: short where one has to run out.
const STREAMS = { share: "60s", poison: "60s", keep: "6s", lapse: "1s", kill: "2s", back: "60s" };
/** Where leases run out by themselves, also of who is late on a busy machine, that kills nothing. */
const ATTEMPTS = 3;
const MANY_ATTEMPTS: readonly string[] = ["lapse", "kill"];
const SETTINGS = Object.entries(STREAMS)
  .map(
    ([name, ackWait]) => `[[streams]]
name = "${name}"
filter = "${name}/#"

[[streams.groups]]
name = "billing"
ack_wait = "${ackWait}"
backoff = ["10ms"]
max_deliver = ${MANY_ATTEMPTS.includes(name) ? 100 : ATTEMPTS}
`,
  )
  .join("\n");

interface Order {
  readonly number: number;
}

let gateway: GatewayProcess;
const clients: Client[] = [];

beforeAll(async () => {
  gateway = await GatewayProcess.start(SETTINGS);
});

afterAll(async () => {
  await gateway?.stop();
});

afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});

function connect(): Client {
  const client = new Client(gateway.url, { backoff: { initial: 20, maximum: 200 } });
  clients.push(client);
  return client;
}

async function publish(stream: string, first: number, last: number): Promise<void> {
  const numbers = Array.from({ length: last - first + 1 }, (_, index) => first + index);
  await gateway.publishAll(numbers.map((number) => ({ topic: `${stream}/eu`, data: { number } })));
}

async function figures(stream: string): Promise<{ depth: number; in_flight: number; redelivered: number; dead: number }> {
  const answer = await fetch(`${gateway.url}/v1/streams/${stream}/groups/billing`);
  return (await answer.json()) as { depth: number; in_flight: number; redelivered: number; dead: number };
}

/** A promise, and what resolves it. */
function event<T = void>(): { readonly happened: Promise<T>; readonly happens: (value: T) => void } {
  let happens: (value: T) => void = () => undefined;
  const happened = new Promise<T>((resolve) => (happens = resolve));
  return { happened, happens };
}

it("shares a group's work with another member, and acks it", async () => {
  const done: number[] = [];
  const all = event();
  const handler = ({ data: { number } }: Delivery<Order>): void => {
    done.push(number);
    if (done.length === 20) all.happens();
  };
  const workers = [connect(), connect()].map((client) => client.work<Order>("share", { group: "billing" }, handler));
  await publish("share", 1, 20);
  await all.happened;
  await Promise.all(workers.map((worker) => worker.stop()));
  expect(done.sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, index) => index + 1));
  expect(await figures("share")).toMatchObject({ depth: 0, in_flight: 0, redelivered: 0 });
});

it("has what fails again, with its attempt, until it is a dead letter", async () => {
  const attempts: number[] = [];
  const last = event();
  const worker = connect().work<Order>("poison", { group: "billing", onError: () => attempts.length === 3 && last.happens() }, ({ attempt }) => {
    attempts.push(attempt);
    throw new Error("poison");
  });
  await publish("poison", 1, 1);
  await last.happened;
  await worker.stop();
  expect(attempts).toEqual([1, 2, 3]);
  expect(await figures("poison")).toMatchObject({ depth: 0, dead: 1 });
});

it("keeps a lease for longer than the group gives", async () => {
  const consumer = connect().consume<Order>("keep", { group: "billing", credit: 1 });
  await consumer.ready;
  await publish("keep", 1, 1);
  const delivery = (await consumer[Symbol.asyncIterator]().next()).value as Delivery<Order>;
  expect(await delivery.handle(() => new Promise((resolve) => setTimeout(resolve, 6500)))).toBe(true);
  expect((await figures("keep")).redelivered).toBe(0);
});

it("gets again what nobody keeps: its lease runs out", async () => {
  const consumer = connect().consume<Order>("lapse", { group: "billing", credit: 1 });
  await consumer.ready;
  await publish("lapse", 1, 1);
  const deliveries = consumer[Symbol.asyncIterator]();
  const first = (await deliveries.next()).value as Delivery<Order>;
  // Held without the library's care for as long as it takes: the same one comes back.
  const again = (await deliveries.next()).value as Delivery<Order>;
  expect(again.offset).toBe(first.offset);
  expect(again.attempt).toBeGreaterThan(first.attempt);
  expect(again.fence).toBeGreaterThan(first.fence);
  expect(await first.ack()).toBe(false);
});

it("works on over a gateway that is killed, and nothing is left over", async () => {
  const done = new Set<number>();
  const [half, all] = [event(), event()];
  const worker = connect().work<Order>("kill", { group: "billing", concurrency: 4 }, ({ data }) => {
    done.add(data.number);
    if (done.size >= 20) half.happens();
    if (done.size === 60) all.happens();
  });
  await publish("kill", 1, 40);
  await half.happened;
  await gateway.kill();
  await gateway.run();
  await publish("kill", 41, 60);
  await all.happened;
  await worker.stop();
  expect((await figures("kill")).in_flight).toBe(0);
});

it("gives back at once what it has when it is closed, and that counts as no failure", async () => {
  const first = connect().consume<Order>("back", { group: "billing", credit: 3 });
  await first.ready;
  await publish("back", 1, 3);
  const held = (await first[Symbol.asyncIterator]().next()).value as Delivery<Order>;
  await first.close();
  const second = connect().consume<Order>("back", { group: "billing" });
  const heard: [number, number][] = [];
  for await (const delivery of second) {
    heard.push([delivery.data.number, delivery.attempt]);
    await delivery.ack();
    if (heard.length === 3) break;
  }
  expect(heard).toEqual([[1, 1], [2, 1], [3, 1]]);
  await expect(held.ack()).rejects.toMatchObject({ code: "closed" });
});

it("is told of a group that there is not", async () => {
  await expect(connect().consume("share", { group: "none" }).ready).rejects.toMatchObject({ code: "not_found" });
});
