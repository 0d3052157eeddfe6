/** Subscriptions of one client that share a filter, against a real gateway. */
import { createServer } from "node:net";
import { once } from "node:events";
import { Client, type Message } from "@fanout-gateway/client";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { GatewayProcess } from "./gateway_process.js";

let gateway: GatewayProcess;
let client: Client;

beforeAll(async () => {
  gateway = await GatewayProcess.start(`streams = [{ name = "orders", filter = "orders/#", last_values = true }]\n`);
});

afterAll(async () => {
  await gateway?.stop();
});

afterEach(() => client.close());

/** What one caller hears, until a message's data is `end`. */
function listen(): { readonly data: unknown[]; readonly ended: Promise<void>; readonly onMessage: (message: Message) => void } {
  let end: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => (end = resolve));
  const data: unknown[] = [];
  const onMessage = (message: Message): void => {
    data.push(message.data);
    if (message.data === "end") end();
  };
  return { data, ended, onMessage };
}

it("each get all of what they asked for, once, over a kill too", async () => {
  client = new Client(gateway.url, { backoff: { initial: 20, maximum: 200 } });
  for (const data of ["1", "2", "3", "4"]) await gateway.publish("orders/eu", data);
  const [all, some, fresh] = [listen(), listen(), listen()];
  await Promise.all([
    client.subscribe("orders/#", { from: "earliest", onMessage: all.onMessage }),
    client.subscribe("orders/#", { onMessage: fresh.onMessage }),
    client.subscribe("orders/#", { from: { last: 2 }, onMessage: some.onMessage }),
  ]);
  const state = client.state("orders/#");
  await state.ready;
  await gateway.publish("orders/us", "5");
  await gateway.kill();
  await gateway.run();
  for (const data of ["6", '"end"']) await gateway.publish("orders/eu", data);
  await Promise.all([all.ended, some.ended, fresh.ended]);
  expect(all.data).toEqual([1, 2, 3, 4, 5, 6, "end"]);
  expect(some.data).toEqual([3, 4, 5, 6, "end"]);
  expect(fresh.data).toEqual([5, 6, "end"]);
  // The state has heard of the same message, in this turn or the next.
  while (state.getSnapshot().get("orders/eu")?.data !== "end") await new Promise((resolve) => state.subscribe(() => resolve(null)));
  expect(state.getSnapshot().get("orders/us")?.data).toBe(5);
});

it("where there is no gateway, nobody waits for ever", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  client = new Client(`http://127.0.0.1:${typeof address === "object" ? address?.port : 0}`);
  await expect(client.connect({ timeout: 200 })).rejects.toMatchObject({ code: "timeout" });
  await expect(client.subscribe("a", { timeout: 200 })).rejects.toMatchObject({ code: "timeout" });
});
