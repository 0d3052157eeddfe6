/** A browser's own EventSource, in a page of another origin that is allowed: it listens, comes back and resumes. */
import { once } from "node:events";
import { type Server, createServer } from "node:http";
import { type Socket, connect } from "node:net";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { PATIENCE, launchBrowser } from "./browser.js";
import { GatewayProcess } from "./gateway_process.js";

interface Heard {
  readonly name: string;
  readonly data: { readonly data?: unknown; readonly filter?: string; readonly recovered?: boolean | null };
  readonly id: string;
}

let gateway: GatewayProcess;
let browser: Browser;
const servers: Server[] = [];

/** Serves an empty page, on an origin of its own. */
async function serveOrigin(): Promise<string> {
  const server = createServer((_request, response) => {
    response.setHeader("content-type", "text/html");
    response.end("<!doctype html><title>A page</title>");
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  servers.push(server);
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return `http://127.0.0.1:${address.port}`;
}

let allowed: string;
let foreign: string;

beforeAll(async () => {
  [allowed, foreign] = [await serveOrigin(), await serveOrigin()];
  gateway = await GatewayProcess.start(
    `origins.allow = ["${allowed}"]\nstreams = [{ name = "orders", filter = "orders/#" }]\n`,
  );
  browser = await launchBrowser();
});

afterAll(async () => {
  await browser?.close();
  for (const server of servers) server.close();
  await gateway?.stop();
});

/** Opens a page that listens to these filters and keeps what it hears. */
async function listen(origin: string, filters: readonly string[], node = gateway): Promise<Page> {
  const page = await browser.newPage();
  await page.goto(origin);
  const query = filters.map((filter) => `filter=${encodeURIComponent(filter)}`).join("&");
  await page.evaluate((url) => {
    const heard: unknown[] = [];
    const source = new EventSource(url, { withCredentials: true });
    for (const name of ["message", "subscribed", "gap", "caught_up"]) {
      source.addEventListener(name, (event) => {
        heard.push({ name, data: JSON.parse(event.data), id: event.lastEventId });
      });
    }
    Object.assign(globalThis, { heard, source });
  }, `${node.url}/v1/events?${query}`);
  return page;
}

/** What the page has heard, once there is so much of this name. */
async function heard(page: Page, name: string, count: number): Promise<Heard[]> {
  await page.waitForFunction(
    ([wanted, least]) => {
      const all = (globalThis as unknown as { heard: Heard[] }).heard;
      return all.filter((event) => event.name === wanted).length >= least;
    },
    [name, count] as const,
    { timeout: PATIENCE },
  );
  const all = await page.evaluate(() => (globalThis as unknown as { heard: Heard[] }).heard);
  return all.filter((event) => event.name === name);
}

it("comes back by itself after a kill and goes on behind the last message it got", async () => {
  const page = await listen(allowed, ["orders/#", "live/#"]);
  await heard(page, "subscribed", 2);
  await gateway.publish("orders/a", "1");
  await gateway.publish("live/a", '"two\\nlines"');
  const before = await heard(page, "message", 2);
  expect(before.map((event) => event.data.data)).toEqual([1, "two\nlines"]);

  await gateway.kill();
  // Or it may be back before both are published, and hear one of them live.
  await page.context().setOffline(true);
  await gateway.run();
  await gateway.publish("orders/a", "3");
  await gateway.publish("orders/a", "4");
  await page.context().setOffline(false);

  await heard(page, "caught_up", 1);
  const messages = await heard(page, "message", 4);
  expect(messages.map((event) => event.data.data)).toEqual([1, "two\nlines", 3, 4]);
  expect(messages.map((event) => event.data.filter)).toEqual([undefined, undefined, "orders/#", "orders/#"]);
  const recovered = (await heard(page, "subscribed", 4)).slice(2).map((event) => [event.data.filter, event.data.recovered]);
  expect(Object.fromEntries(recovered)).toEqual({ "orders/#": true, "live/#": null });

  await gateway.publish("orders/a", "5");
  const last = (await heard(page, "message", 5)).at(-1);
  expect(last?.data).toMatchObject({ data: 5 });
  expect(last?.id).not.toBe(before[0]?.id);
});

/** A WebSocket that answers nothing: it holds a drain until the gateway's patience is over. */
async function connectStuck(port: number): Promise<Socket> {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write(
    `GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
  );
  await once(socket, "data");
  socket.pause();
  return socket;
}

it("comes back after a restart, though it meets the node that still drains, and with few requests", async () => {
  const node = await GatewayProcess.start(
    `origins.allow = ["${allowed}"]\nserver.drain_seconds = 30\n`,
  );
  const page = await listen(allowed, ["live/#"], node);
  let requests = 0;
  page.on("request", (request) => (requests += request.url().includes("/v1/events") ? 1 : 0));
  await heard(page, "subscribed", 1);
  const stuck = await connectStuck(node.port);
  // A connection that the browser keeps: by it the page reaches the node although that listens no more.
  const kept = (url: string): Promise<string> => fetch(url, { credentials: "include" }).then((answer) => answer.text());
  await page.evaluate(kept, `${node.url}/livez`);
  const answered = page.waitForResponse((response) => response.url().includes("/v1/events"));
  const { ended } = node.terminate();
  expect((await answered).status()).toBe(200);
  stuck.destroy();
  await ended;
  const state = await page.waitForFunction(() => {
    const { readyState } = (globalThis as unknown as { source: EventSource }).source;
    return readyState === EventSource.OPEN ? null : { readyState };
  });
  expect(await state.jsonValue()).toEqual({ readyState: 0 });
  await node.run();
  await heard(page, "subscribed", 2);
  await node.publish("live/a", "1");
  await heard(page, "message", 1);
  expect(requests).toBeLessThan(15);
  await page.close();
  await node.stop();
});

it("hears nothing in a page whose origin is not allowed, and does not come back", async () => {
  const page = await listen(foreign, ["orders/#"]);
  await page.waitForFunction(() => {
    const { source } = globalThis as unknown as { source: EventSource };
    return source.readyState === EventSource.CLOSED;
  });
  expect(await page.evaluate(() => (globalThis as unknown as { heard: Heard[] }).heard)).toEqual([]);
});
