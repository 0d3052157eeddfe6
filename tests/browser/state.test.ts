/** The browser library's views of last values in Node, on a real gateway that is killed. */
import { Client, type Message, type TopicState } from "@fanout-gateway/client";
import { afterEach, beforeEach, expect, it } from "vitest";
import { GatewayProcess } from "./gateway_process.js";

const SETTINGS = `streams = [
  { name = "orders", filter = "orders/#", max_messages = 5, last_values = true },
]
[store]
url = "sqlite:streams.db"
`;

let gateway: GatewayProcess;
let client: Client;

beforeEach(async () => {
  gateway = await GatewayProcess.start(SETTINGS);
  client = new Client(gateway.url, { backoff: { initial: 20, maximum: 200 } });
});

afterEach(async () => {
  client?.close();
  await gateway?.stop();
});

function shown(view: ReadonlyMap<string, Message>): unknown {
  return Object.fromEntries([...view].map(([topic, { data }]) => [topic, data]));
}

/** Resolves once the view is `wanted` and current, as a component that is rendered with each change would see it. */
function until(state: TopicState, wanted: unknown): Promise<void> {
  return new Promise((resolve) => {
    let stop = (): void => undefined;
    const look = (): void => {
      if (state.stale || JSON.stringify(sorted(shown(state.getSnapshot()))) !== JSON.stringify(sorted(wanted))) return;
      stop();
      resolve();
    };
    stop = state.subscribe(look);
    look();
  });
}

function sorted(value: unknown): unknown {
  return Object.entries(value as object).sort(([one], [other]) => (one < other ? -1 : 1));
}

it("shows what there is, goes on over a gateway that is killed, and tells each change", async () => {
  const last: Record<string, number> = {};
  for (let number = 0; number < 20; number += 1) {
    last[`orders/${number % 8}`] = number;
    await gateway.publish(`orders/${number % 8}`, String(number));
  }
  const state = client.state("orders/#");
  expect([state.stale, state.getSnapshot().size]).toEqual([true, 0]);
  await state.ready;
  expect(shown(state.getSnapshot())).toEqual(last);
  const followed = new Map(state.getSnapshot());
  const changes = (async () => {
    for await (const change of state) {
      expect(change.old?.data).toEqual(followed.get(change.topic)?.data);
      if (change.new === null) followed.delete(change.topic);
      else followed.set(change.topic, change.new);
    }
  })();

  await gateway.kill();
  await new Promise<void>((resolve) => {
    const stop = state.subscribe(() => {
      if (!state.stale) return;
      stop();
      resolve();
    });
    if (state.stale) resolve();
  });
  expect(shown(state.getSnapshot())).toEqual(last);
  await gateway.run();
  await client.connect();
  await client.publish("orders/1", "changed");
  await client.delete("orders/2");
  const { ["orders/2"]: _, ...rest } = last;
  await until(state, { ...rest, "orders/1": "changed" });
  expect(state.positions["orders"]?.offset).toBe(22);

  await state.close();
  await changes;
  expect(shown(followed)).toEqual({ ...rest, "orders/1": "changed" });
  await gateway.publish("orders/1", "7");
  expect(shown(state.getSnapshot())).toEqual({ ...rest, "orders/1": "changed" });
});
