/** A cookie for a browser's EventSource, set by a page of an allowed origin and by no other. */
import { once } from "node:events";
import { type Server, createServer } from "node:http";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { launchBrowser } from "./browser.js";
import { GatewayProcess } from "./gateway_process.js";
import { AUTHENTICATION, token } from "./tokens.js";

let gateway: GatewayProcess;
let browser: Browser;
const servers: Server[] = [];
let allowed: string;
let foreign: string;

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

beforeAll(async () => {
  [allowed, foreign] = [await serveOrigin(), await serveOrigin()];
  gateway = await GatewayProcess.start(`origins.allow = ["${allowed}"]\n${AUTHENTICATION}`);
  browser = await launchBrowser();
});

afterAll(async () => {
  await browser?.close();
  for (const server of servers) server.close();
  await gateway?.stop();
});

async function open(origin: string): Promise<Page> {
  const page = await (await browser.newContext()).newPage();
  await page.goto(origin);
  return page;
}

/** What the page's own fetch is told: the status and the body, or null where the browser gave nothing out. */
async function session(page: Page, method: string, credential?: string): Promise<[number, string] | null> {
  return await page.evaluate(
    async ([url, method, credential]) => {
      const headers = credential === undefined ? {} : { authorization: `Bearer ${credential}` };
      try {
        const answer = await fetch(url, { method, headers, credentials: "include" });
        return [answer.status, await answer.text()] as [number, string];
      } catch {
        return null;
      }
    },
    [`${gateway.url}/v1/session`, method, credential] as [string, string, string | undefined],
  );
}

/** Whether an EventSource of the page gets through, and what it hears of a message published then. */
async function listens(page: Page): Promise<string> {
  await page.evaluate((url) => {
    const source = new EventSource(url, { withCredentials: true });
    const heard = new Promise<string>((resolve) => {
      source.onerror = () => resolve("refused");
      source.onmessage = (event) => resolve((JSON.parse(event.data) as { data: string }).data);
    });
    const begun = new Promise<void>((resolve) => {
      source.addEventListener("subscribed", () => resolve());
      source.addEventListener("error", () => resolve());
    });
    Object.assign(globalThis, { heard: heard.finally(() => source.close()), begun });
  }, `${gateway.url}/v1/events?filter=orders%2F%23`);
  await page.evaluate(() => (globalThis as unknown as { begun: Promise<void> }).begun);
  await fetch(`${gateway.url}/v1/topics/orders/eu`, {
    method: "POST",
    headers: { authorization: `Bearer ${token("publisher", { publish: ["#"] })}`, "content-type": "text/plain" },
    body: "hello",
  });
  return await page.evaluate(() => (globalThis as unknown as { heard: Promise<string> }).heard);
}

const listener = (): string => token("ann", { subscribe: ["orders/#"] });

it.each(["of an allowed origin", "of the gateway's own"])("a page %s begins a session, listens, and ends it", async (which) => {
  const page = await open(which.includes("own") ? gateway.url : allowed);
  expect(await listens(page)).toBe("refused");
  const [status, body] = (await session(page, "POST", listener())) ?? [];
  expect([status, JSON.parse(body ?? "")]).toEqual([200, { subject: "ann", expires: expect.any(Number) as number }]);
  expect(await page.evaluate(() => document.cookie)).toBe("");
  expect(await listens(page)).toBe("hello");
  expect(await session(page, "DELETE")).toEqual([204, ""]);
  expect(await listens(page)).toBe("refused");
});

it("a page of another origin can neither begin a session, nor use one, nor end it", async () => {
  const page = await open(allowed);
  await session(page, "POST", listener());
  const evil = await page.context().newPage();
  await evil.goto(foreign);
  expect(await session(evil, "POST", token("mallory", { subscribe: ["#"] }))).toBeNull();
  expect(await session(evil, "DELETE")).toBeNull();
  expect(await listens(evil)).toBe("refused");
  // Still the first one's.
  expect(await listens(page)).toBe("hello");
});

it("a wrong credential begins none", async () => {
  const page = await open(allowed);
  expect((await session(page, "POST", "wrong"))?.[0]).toBe(401);
  expect((await session(page, "POST"))?.[0]).toBe(401);
  expect(await listens(page)).toBe("refused");
});
