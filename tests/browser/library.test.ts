/** The browser library in Node, against a real gateway. */
import { Client, type Gap, type GatewayError } from "@fanout-gateway/client";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { GatewayProcess } from "./gateway_process.js";
import { AUTHENTICATION, token } from "./tokens.js";

let gateway: GatewayProcess;
let client: Client;

beforeAll(async () => {
  gateway = await GatewayProcess.start();
});

afterAll(async () => {
  await gateway?.stop();
});

beforeEach(async () => {
  client = new Client(gateway.url);
  await client.connect();
});

afterEach(() => client.close());

it("brings JSON, text and bytes back as they were published, in order", async () => {
  const subscription = await client.subscribe("kinds/+");
  const receipt = await client.publish("kinds/json", { total: 42, nested: [null, "ä"] }, { headers: { Trace: "1" }, id: "mine" });
  await client.publish("kinds/text", "two\nlines", { contentType: "text/plain" });
  await client.publish("kinds/bytes", new Uint8Array([0, 127, 255]), { contentType: "image/png" });

  const messages = subscription[Symbol.asyncIterator]();
  const json = (await messages.next()).value;
  expect(json).toMatchObject({ topic: "kinds/json", data: { total: 42, nested: [null, "ä"] }, headers: { Trace: "1" } });
  expect(json?.id).toBe("mine");
  expect(receipt.id).toBe("mine");
  expect((await messages.next()).value).toMatchObject({ data: "two\nlines", contentType: "text/plain" });
  expect((await messages.next()).value).toMatchObject({ data: new Uint8Array([0, 127, 255]), contentType: "image/png" });
});

it("hands a message to each subscription that matches", async () => {
  const heard: string[] = [];
  const exact = await client.subscribe("shared/a", { onMessage: () => heard.push("exact") });
  await client.subscribe("shared/#", { onMessage: () => heard.push("wide") });
  const last = await client.subscribe("shared/end");
  await client.publish("shared/a", 1);
  await exact.unsubscribe();
  await client.publish("shared/a", 2);
  await client.publish("shared/end", 3);
  await last[Symbol.asyncIterator]().next();
  expect(heard).toEqual(["exact", "wide", "wide", "wide"]);
});

it("gets the gateway's refusals with their codes", async () => {
  await expect(client.subscribe("a/#/b")).rejects.toMatchObject({ code: "bad_filter" });
  await expect(client.publish("a/+", 1)).rejects.toMatchObject({ code: "bad_topic" });
  await expect(client.publish("$gateway/x", 1)).rejects.toMatchObject({ code: "bad_topic" });
  const refused = new Promise<GatewayError>((resolve) => client.on("error", resolve));
  await client.publish("a/#", 1, { ack: false });
  expect((await refused).code).toBe("bad_topic");
  expect(client.status.state).toBe("connected");
});

it("comes back after a kill, and tells the gap", async () => {
  const gapped = new Promise<Gap>((resolve) => client.on("gap", resolve));
  const subscription = await client.subscribe("orders/#");
  await gateway.kill();
  await gateway.run();
  expect(await gapped).toEqual({ reason: "reconnect", filter: "orders/#", dropped: null });
  await client.publish("orders/after", 1);
  expect((await subscription[Symbol.asyncIterator]().next()).value?.topic).toBe("orders/after");
});

it("renews when it is told to, and has other grants from then on", async () => {
  const guarded = await GatewayProcess.start(AUTHENTICATION);
  let grants = { subscribe: ["a"], publish: [] as string[] };
  client.close();
  client = new Client(guarded.url, { token: async () => token("ann", grants) });
  const subscription = await client.subscribe<number>("a");
  await expect(client.publish("a", 1)).rejects.toMatchObject({ code: "forbidden" });
  grants = { subscribe: ["a"], publish: ["a"] };
  await client.renew();
  await client.publish("a", 2);
  expect((await subscription[Symbol.asyncIterator]().next()).value?.data).toBe(2);
  expect(client.status.state).toBe("connected");
  await guarded.stop();
});

it("renews its credential while it is connected, before the gateway takes it away", async () => {
  const guarded = await GatewayProcess.start(AUTHENTICATION);
  const grants = { subscribe: ["#"], publish: ["#"] };
  const states: string[] = [];
  let asked = 0;
  const renewed = new Promise<void>((resolve) => {
    client.close();
    client = new Client(guarded.url, {
      token: async () => {
        asked += 1;
        if (asked === 2) setTimeout(resolve, 0);
        return token("ann", grants, asked === 1 ? 2 : 3600);
      },
    });
  });
  client.on("state", ({ state }) => states.push(state));
  client.on("error", (error) => states.push(error.code));
  const subscription = await client.subscribe<number>("a");
  await renewed;
  const messages = subscription[Symbol.asyncIterator]();
  // Answered behind the new credential.
  await client.publish("a", 1);
  expect((await messages.next()).value?.data).toBe(1);
  expect(states).toEqual(["connecting", "connected"]);
  expect(asked).toBe(2);
  await guarded.stop();
});
