/** The console of a gateway of two nodes: whichever of them answers the page, it is of both. */
import { createHmac } from "node:crypto";
import { Client } from "@fanout-gateway/client";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { ConsolePage, launchBrowser } from "./browser.js";
import { HOOK_SECRET, call, fill, killSome, startGateway } from "./console_fixture.js";
import type { GatewayProcess } from "./gateway_process.js";
import { RedisProcess } from "./redis_process.js";

let redis: RedisProcess;
/** The page's own. */
let near: GatewayProcess;
let far: GatewayProcess;
let farName: string;
let browser: Browser;

beforeAll(async () => {
  redis = await RedisProcess.start();
  const joined = `redis.url = "${redis.url}"\n`;
  [near, far] = await Promise.all([startGateway(joined), startGateway(joined)]);
  browser = await launchBrowser();
  farName = (await call<{ node: string }>(far, "console")).node;
});

afterAll(async () => {
  await browser?.close();
  await near?.stop();
  await far?.stop();
  await redis?.stop();
});

afterEach(async () => {
  for (const context of browser.contexts()) await context.close();
});

async function open(room: string): Promise<{ opened: ConsolePage; page: Page }> {
  const opened = await ConsolePage.open(browser, near.url, room);
  return { opened, page: opened.page };
}

it("overview: counts what is connected to either", async () => {
  const client = new Client(far.url);
  await client.connect();
  const { opened, page } = await open("overview");
  const connections = page.locator(".figure", { hasText: "Connections" }).locator(".figure-value");
  await expect.poll(() => connections.textContent()).toBe("2");
  client.close();
  await expect.poll(() => connections.textContent()).toBe("1");
  expect(opened.complaints).toEqual([]);
});

it("connections: looks into one of the other node, and ends it", async () => {
  const client = new Client(far.url);
  await client.subscribe("looked/at/#", { onMessage: () => undefined });
  const closed = new Promise((resolve) => client.on("state", ({ state }) => state === "closed" && resolve(state)));
  const { opened, page } = await open("connections");
  await expect.poll(() => opened.line("websocket").count()).toBe(2);
  await page.getByLabel("Node", { exact: true }).selectOption(farName);
  await expect.poll(() => opened.line("websocket").count()).toBe(1);
  await opened.line(farName).click();
  const details = page.getByRole("region", { name: "Connection" });
  await details.getByText("looked/at/#").waitFor();
  await details.getByRole("button", { name: "Disconnect" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Disconnect" }).click();
  await page.getByText("It has been closed with 4403").waitFor();
  expect(await closed).toBe("closed");
  expect(opened.complaints.filter((line) => !line.includes("404"))).toEqual([]);
});

it("topics, streams and queues: what comes in at the other node is there", async () => {
  await fill(far, 20);
  const { opened, page } = await open("topics?filter=orders/%23&from=earliest");
  await expect.poll(() => page.locator("#total").textContent()).toBe("20");
  await far.publish("orders/eu/created", '{"number": 21}');
  await opened.line('"number":21').waitFor();
  await killSome(far, 3);
  await page.goto(`${near.url}/#/dead-letters`);
  await expect.poll(() => opened.line("orders/").count()).toBe(3);
  await page.getByRole("button", { name: "Redrive all …" }).click();
  await page.getByText("3 letters would be sent back.").waitFor();
  await page.getByRole("dialog").getByRole("button", { name: "Redrive" }).click();
  await page.getByText("3 letters sent back.").waitFor();
  expect((await call<{ dead: number }>(far, "streams/orders/groups/billing")).dead).toBe(0);
  expect(opened.complaints).toEqual([]);
});

it("webhooks: has what became of the other node's deliveries", async () => {
  const body = '{"number": 1}';
  const signature = createHmac("sha256", HOOK_SECRET).update(body).digest("hex");
  const deliver = async (secretly: string): Promise<number> =>
    (
      await fetch(`${far.url}/v1/hooks/shop`, {
        method: "POST",
        headers: { "content-type": "application/json", "x-hub-signature-256": secretly, "x-github-event": "push" },
        body,
      })
    ).status;
  expect(await deliver("sha256=00")).toBe(401);
  expect(await deliver(`sha256=${signature}`)).toBe(201);
  const { opened, page } = await open("webhooks");
  await opened.line("refused").filter({ hasText: farName }).waitFor();
  await opened.line("published").filter({ hasText: farName }).click();
  const delivery = page.getByRole("region", { name: "Delivery" });
  await delivery.getByRole("button", { name: "Publish again …" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Publish" }).click();
  await page.getByText(/^Published as /).waitFor();
  await page.keyboard.press("Escape");
  await opened.line("replayed").waitFor();
  expect(opened.complaints).toEqual([]);
});

it("audit: has what was done at the other node", async () => {
  await call(far, "disconnect", { subject: "mallory", block_seconds: 60 });
  const { opened, page } = await open("audit");
  await opened.line("/v1/disconnect").filter({ hasText: farName }).click();
  await page.getByRole("region", { name: "Record" }).getByText('"subject": "mallory"').waitFor();
  expect(opened.complaints).toEqual([]);
});

it("nodes: both are told of, and the other one is drained", async () => {
  const { opened, page } = await open("nodes");
  await expect.poll(() => opened.line("ready").count()).toBe(2);
  await opened.line(farName).click();
  await page.getByRole("region", { name: `Node ${farName}` }).waitFor();
  await page.getByRole("region", { name: "Now" }).getByText("connected").first().waitFor();
  await page.getByRole("button", { name: "Drain …" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Drain" }).click();
  await page.getByText("It drains, and ends").waitFor();
  await far.ended();
  await page.keyboard.press("Escape");
  await expect.poll(() => opened.line("ready").count(), { timeout: 60_000 }).toBe(1);
  await opened.waitForState("Connected");
  expect(opened.complaints).toEqual([]);
});
