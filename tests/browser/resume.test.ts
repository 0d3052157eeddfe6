/** The browser library in Node, resuming streams of a real gateway that is killed. */
import { Client, type Gap, type Message, type Positions } from "@fanout-gateway/client";
import { afterEach, beforeEach, expect, it } from "vitest";
import { GatewayProcess } from "./gateway_process.js";

const SETTINGS = `streams = [
  { name = "orders", filter = "orders/#" },
  { name = "short", filter = "short/#", max_messages = 5 },
]
`;

let gateway: GatewayProcess;
let client: Client;

beforeEach(async () => {
  gateway = await GatewayProcess.start(SETTINGS);
  client = comesBackSoon();
});

afterEach(async () => {
  client?.close();
  await gateway?.stop();
});

function comesBackSoon(): Client {
  return new Client(gateway.url, { backoff: { initial: 20, maximum: 200 } });
}

/** Publishes until the gateway is gone; returns what it answered for. */
async function publishUntilItDies(first: number): Promise<number[]> {
  const answered: number[] = [];
  for (let number = first; ; number += 1) {
    try {
      await gateway.publish("orders/eu", String(number));
    } catch {
      return answered;
    }
    answered.push(number);
  }
}

/** What the stream holds, as it is read over HTTP. */
async function stored(): Promise<{ offset: number; data: unknown }[]> {
  const found: { offset: number; data: unknown }[] = [];
  for (;;) {
    const from = found.length === 0 ? "earliest" : String((found.at(-1)?.offset ?? 0) + 1);
    const answer = await fetch(`${gateway.url}/v1/streams/orders/messages?from=${from}&limit=1000`);
    const { messages } = (await answer.json()) as { messages: { offset: number; data: unknown }[] };
    if (messages.length === 0) return found;
    found.push(...messages.map(({ offset, data }) => ({ offset, data })));
  }
}

/** Resolves once `condition` holds; it is looked at with every message. */
class Listener {
  readonly messages: Message[] = [];
  readonly gaps: Gap[] = [];
  #condition: (() => void) | null = null;

  readonly onMessage = (message: Message): void => {
    this.messages.push(message);
    this.#condition?.();
  };

  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#condition = () => {
        if (condition()) resolve();
      };
      this.#condition();
    });
  }

  get data(): unknown[] {
    return this.messages.map(({ data }) => data);
  }
}

it("gets everything that the stream has, once and in order, over gateways killed while they are published to", async () => {
  const listener = new Listener();
  await client.subscribe("orders/#", { onMessage: listener.onMessage, onGap: (gap) => listener.gaps.push(gap) });

  const answered: number[] = [];
  for (const round of [1, 2]) {
    const publishing = publishUntilItDies(round * 10_000);
    await listener.until(() => listener.messages.some(({ data }) => (data as number) >= round * 10_000 + 20));
    await gateway.kill();
    answered.push(...(await publishing));
    await gateway.run();
  }
  await gateway.publish("orders/eu", '"end"');
  await listener.until(() => listener.data.includes("end"));

  expect(listener.messages.map(({ offset, data }) => ({ offset, data }))).toEqual(await stored());
  expect(listener.data).toEqual(expect.arrayContaining(answered));
  expect(listener.gaps).toEqual([]);
});

it("goes on in another run of the program behind the positions that the first one kept", async () => {
  const first = await client.subscribe("orders/#", { from: "earliest" });
  for (const data of ["1", "2", "3"]) await gateway.publish("orders/eu", data);
  const messages = first[Symbol.asyncIterator]();
  expect([(await messages.next()).value?.data, (await messages.next()).value?.data]).toEqual([1, 2]);
  const kept = JSON.parse(JSON.stringify(first.positions)) as Positions;
  client.close();
  await gateway.kill();
  await gateway.run();
  await gateway.publish("orders/eu", "4");

  client = comesBackSoon();
  const second = await client.subscribe("orders/#", { resume: kept });
  const heard: unknown[] = [];
  for await (const { data, offset } of second) {
    heard.push([offset, data]);
    if (offset === 4) break;
  }
  expect(heard).toEqual([[3, 3], [4, 4]]);
});

it("is told which offsets the stream has no more, and goes on behind them", async () => {
  await gateway.publish("short/a", "1");
  const heard = new Listener();
  const first = await client.subscribe("short/#", { from: "earliest", onMessage: heard.onMessage });
  await heard.until(() => heard.messages.length === 1);
  const kept = first.positions;
  client.close();
  for (let number = 2; number <= 20; number += 1) await gateway.publish("short/a", String(number));
  // A node serves what it still has in memory, whatever the store keeps; after a start it has nothing.
  await gateway.kill();
  await gateway.run();

  client = comesBackSoon();
  const again = new Listener();
  await client.subscribe("short/#", {
    resume: kept,
    onMessage: again.onMessage,
    onGap: (gap) => again.gaps.push(gap),
  });
  await again.until(() => again.data.includes(20));
  expect(again.gaps).toMatchObject([{ filter: "short/#", stream: "short", reason: "trimmed", from: 2, to: 15 }]);
  expect(again.data).toEqual([16, 17, 18, 19, 20]);
});
