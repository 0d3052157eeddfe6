/** Tabs of a real browser that share one socket, with the scripts as they are published. */
import { copyFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Client } from "@fanout-gateway/client";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { build } from "vite";
import { PATIENCE, launchBrowser } from "./browser.js";
import { GatewayProcess } from "./gateway_process.js";
import { Pages, inWeb } from "./pages.js";
import { AUTHENTICATION, token } from "./tokens.js";

const STREAM = `[[streams]]
name = "orders"
filter = "orders/#"

[[streams.groups]]
name = "billing"
`;

/** What the page below keeps for the test. */
interface InPage {
  readonly client: Client;
  readonly heard: unknown[];
  readonly done: unknown[];
}

let gateway: GatewayProcess;
let browser: Browser;
let context: BrowserContext;
let pages: Pages;
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "gateway-tabs-"));
  for (const mode of ["script", "worker"]) {
    await build({ root: inWeb("client"), configFile: inWeb("client/vite.config.ts"), mode, logLevel: "error" });
  }
  for (const name of ["fanout-gateway.min.js", "fanout-gateway-worker.min.js"]) {
    await copyFile(inWeb(`client/dist/${name}`), join(directory, name));
  }
  await writeFile(join(directory, "index.html"), `<!doctype html><title>A tab</title><script src="/fanout-gateway.min.js"></script>`);
  pages = await Pages.serve(directory);
  gateway = await GatewayProcess.start(`origins.allow = ["${pages.origin}"]\n${STREAM}${AUTHENTICATION}`);
  browser = await launchBrowser();
  context = await browser.newContext();
});

afterAll(async () => {
  await browser?.close();
  await pages?.stop();
  await gateway?.stop();
  await rm(directory, { recursive: true, force: true });
});

const admin = token("admin", { admin: true, publish: ["#"] });

async function sockets(): Promise<number> {
  const answer = await fetch(`${gateway.url}/v1/connections`, { headers: { authorization: `Bearer ${admin}` } });
  return ((await answer.json()) as { connections: unknown[] }).connections.length;
}

async function publish(data: number): Promise<void> {
  const headers = { authorization: `Bearer ${admin}`, "content-type": "application/json" };
  const answer = await fetch(`${gateway.url}/v1/topics/orders/eu`, { method: "POST", headers, body: String(data) });
  expect(answer.status).toBe(201);
}

/** A tab whose client shares the worker's socket, and listens from the first message on. */
async function openTab(): Promise<Page> {
  const page = await context.newPage();
  await page.goto(pages.origin);
  await page.evaluate(
    async ([url, credential]) => {
      const { Client } = (globalThis as unknown as { FanoutGateway: { Client: new (url: string, options: object) => Client } }).FanoutGateway;
      const worker = new SharedWorker("/fanout-gateway-worker.min.js", "gateway");
      const client = new Client(url, { shared: { worker, identity: "ann" }, token: async () => credential, backoff: { initial: 20, maximum: 200 } });
      const heard: unknown[] = [];
      Object.assign(globalThis, { client, heard, done: [] });
      await client.subscribe("orders/#", { from: "earliest", onMessage: ({ data }) => heard.push(data) });
    },
    [gateway.url, token("ann", { subscribe: ["orders/#"], publish: ["orders/#"], consume: ["orders/billing"] })] as const,
  );
  return page;
}

async function hears(page: Page, wanted: number[], which: "heard" | "done" = "heard"): Promise<void> {
  const same = ([wanted, which]: readonly [string, "heard" | "done"]): boolean =>
    JSON.stringify((globalThis as unknown as InPage)[which]) === wanted;
  await page.waitForFunction(same, [JSON.stringify(wanted), which] as const, { timeout: PATIENCE });
}

it("hear all by one socket, over a gateway that is killed, and go on without the tab that opened it", async () => {
  await publish(1);
  const first = await openTab();
  const second = await openTab();
  for (const tab of [first, second]) await hears(tab, [1]);
  expect(await sockets()).toBe(1);

  await gateway.kill();
  await gateway.run();
  await publish(2);
  const third = await openTab();
  for (const tab of [first, second, third]) await hears(tab, [1, 2]);
  expect(await sockets()).toBe(1);

  await first.close();
  await second.evaluate(async () => (globalThis as unknown as InPage).client.publish("orders/us", 3));
  for (const tab of [second, third]) await hears(tab, [1, 2, 3]);

  // One of them works a group off: all that it has to do since the first start.
  await second.evaluate(() => {
    const { client, done } = globalThis as unknown as InPage;
    client.work("orders", { group: "billing" }, ({ data }) => void done.push(data));
  });
  await publish(4);
  await hears(second, [1, 2, 3, 4], "done");

  await second.close();
  await third.close();
  while ((await sockets()) > 0) await new Promise((resolve) => setTimeout(resolve, 100));
});
