/** Cross-site WebSocket hijacking: a page of another origin and a gateway on loopback, in a real browser. */
import { once } from "node:events";
import { type Server, createServer } from "node:http";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { launchBrowser } from "./browser.js";
import { GatewayProcess } from "./gateway_process.js";

let gateway: GatewayProcess;
let browser: Browser;
let elsewhere: Server;
let foreignUrl: string;

beforeAll(async () => {
  gateway = await GatewayProcess.start();
  browser = await launchBrowser();
  elsewhere = createServer((_request, response) => {
    response.setHeader("content-type", "text/html");
    response.end("<!doctype html><title>Another origin</title>");
  }).listen(0, "127.0.0.1");
  await once(elsewhere, "listening");
  const address = elsewhere.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  foreignUrl = `http://127.0.0.1:${address.port}/`;
});

afterAll(async () => {
  await browser?.close();
  elsewhere?.close();
  await gateway?.stop();
});

async function open(url: string): Promise<Page> {
  const page = await browser.newPage();
  await page.goto(url);
  return page;
}

/** What becomes of a WebSocket that the page opens: its first message, or "refused". */
async function connect(page: Page): Promise<string> {
  return await page.evaluate(
    async (url) =>
      await new Promise<string>((resolve) => {
        const socket = new WebSocket(url);
        socket.onmessage = (event) => resolve(JSON.parse(String(event.data)).op);
        socket.onclose = () => resolve("refused");
      }),
    `${gateway.url.replace("http", "ws")}/v1/ws`,
  );
}

/** What becomes of a request that the page makes: its status, "opaque" or "failed". */
async function publish(page: Page, options: RequestInit): Promise<string> {
  return await page.evaluate(
    async ([url, init]) => {
      try {
        const answer = await fetch(url, { method: "POST", body: "{}", ...init });
        return answer.type === "opaque" ? "opaque" : String(answer.status);
      } catch {
        return "failed";
      }
    },
    [`${gateway.url}/v1/topics/hijack/x`, options] as const,
  );
}

async function published(): Promise<number> {
  const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
  return Number(/^gateway_publications_total (\S+)/m.exec(metrics)?.[1]);
}

it("the gateway's own page may connect and publish", async () => {
  const page = await open(`${gateway.url}/`);
  expect(await connect(page)).toBe("welcome");
  expect(await publish(page, {})).toBe("202");
  expect(await published()).toBe(1);
});

it("a page of another origin can neither connect nor publish nor read", async () => {
  const before = await published();
  const page = await open(foreignUrl);
  expect(await connect(page)).toBe("refused");
  expect(await publish(page, {})).toBe("failed");
  expect(await publish(page, { mode: "no-cors" })).not.toBe("202");
  expect(await publish(page, { headers: { "content-type": "application/json" } })).toBe("failed");
  const read = await page.evaluate(async (url) => {
    try {
      return await (await fetch(url)).text();
    } catch {
      return "unreadable";
    }
  }, `${gateway.url}/v1/connections`);
  expect(read).toBe("unreadable");
  expect(await published()).toBe(before);
});

it("a page can not frame the gateway", async () => {
  const page = await open(foreignUrl);
  const shown = await page.evaluate(
    async (url) =>
      await new Promise<boolean>((resolve) => {
        const frame = document.createElement("iframe");
        frame.src = url;
        frame.onload = () => resolve(frame.contentDocument !== null);
        document.body.append(frame);
      }),
    `${gateway.url}/`,
  );
  expect(shown).toBe(false);
  // Which frames there are is told by another process than the page's.
  await expect.poll(() => page.frames().some((frame) => frame.url().startsWith("chrome-error:"))).toBe(true);
});
