/** The React hooks in a real browser: strict mode, hydration of what a server rendered, a gateway that is killed. */
import { Client } from "@fanout-gateway/client";
import type { Browser, Page } from "playwright-core";
import { createElement } from "react";
import { renderToString } from "react-dom/server";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { App } from "../../web/react/test/app.js";
import { PATIENCE, launchBrowser } from "./browser.js";
import { GatewayProcess } from "./gateway_process.js";
import { Pages, inWeb } from "./pages.js";

let gateway: GatewayProcess;
let browser: Browser;
let pages: Pages;

/** The page's markup as a server without a WebSocket renders it. */
function rendered(): string {
  return renderToString(createElement(App, { client: new Client("/relative/to/nothing/here") }));
}

beforeAll(async () => {
  pages = await Pages.build(inWeb("react/test"), (_path, text) => text.replace("<!--app-->", rendered()));
  gateway = await GatewayProcess.start(
    `origins.allow = ["${pages.origin}"]\nstreams = [{ name = "orders", filter = "orders/#", last_values = true }]\n`,
  );
  browser = await launchBrowser();
});

afterAll(async () => {
  await browser?.close();
  await pages?.stop();
  await gateway?.stop();
});

afterEach(async () => {
  for (const context of browser.contexts()) await context.close();
});

interface Opened {
  readonly page: Page;
  /** What the browser complained about: hydration that fails is told there. */
  readonly complaints: string[];
  sent(op: string): Promise<string[]>;
}

async function open(query = ""): Promise<Opened> {
  const page = await browser.newPage();
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (line) => {
    if (line.type() === "error" && !line.text().includes("WebSocket connection to")) complaints.push(line.text());
  });
  await page.addInitScript(() => {
    const frames: string[] = [];
    const send = WebSocket.prototype.send;
    WebSocket.prototype.send = function (data) {
      frames.push(String(data));
      send.call(this, data);
    };
    Object.assign(globalThis, { frames });
  });
  await page.goto(`${pages.origin}/?gateway=${encodeURIComponent(gateway.url)}${query}`);
  const sent = async (op: string): Promise<string[]> => {
    const frames = await page.evaluate(() => (globalThis as unknown as { frames: string[] }).frames);
    return frames.map((frame) => JSON.parse(frame) as { op: string; filter: string }).filter((frame) => frame.op === op).map(({ filter }) => filter);
  };
  return { page, complaints, sent };
}

async function shows(page: Page, id: string, text: string): Promise<void> {
  await page.waitForFunction(([id, text]) => document.getElementById(id)?.textContent?.trim() === text, [id, text] as const, {
    timeout: PATIENCE,
  });
}

it("renders on a server what the browser begins with", () => {
  const text = rendered().replace(/<!-- -->/g, "");
  expect(text).toContain('<p id="connection">idle</p>');
  expect(text).toContain('<p id="state">stale </p>');
});

it("shows topics, state and connection in strict mode, shares what is the same, and goes on over a kill", async () => {
  for (const number of [1, 2]) await gateway.publish("orders/a", JSON.stringify({ number }));
  const { page, complaints, sent } = await open();
  await shows(page, "connection", "connected");
  for (const id of ["first", "second"]) await shows(page, id, "live  1,2 latest 2");
  await shows(page, "live", "live");
  await shows(page, "state", "current orders/a=2");
  await shows(page, "refused", "failed bad_filter");
  await gateway.publish("orders/b", JSON.stringify({ number: 3 }));
  await shows(page, "second", "live  1,2,3 latest 3");
  await shows(page, "live", "live 3");
  await shows(page, "state", "current orders/a=2 orders/b=3");
  // Two components and strict mode's second beginning are one subscription, as if there were one.
  expect((await sent("subscribe")).filter((filter) => filter === "orders/#")).toHaveLength(2); // from the earliest, and live
  expect(await sent("unsubscribe")).toEqual(expect.not.arrayContaining(["orders/#", "orders/+"]));

  await gateway.kill();
  await shows(page, "connection", "reconnecting");
  await gateway.run();
  for (const number of [4, 5, 6]) await gateway.publish("orders/b", JSON.stringify({ number }));
  await shows(page, "first", "live  2,3,4,5,6 latest 6");
  await shows(page, "state", "current orders/a=2 orders/b=6");
  expect(complaints).toEqual([]);
});

it("ends what nobody shows any more, and begins it again", async () => {
  const { page, complaints } = await open();
  await shows(page, "live", "live");
  await page.getByRole("button", { name: "toggle" }).click();
  await shows(page, "live", "idle");
  await page.getByRole("button", { name: "toggle" }).click();
  await shows(page, "live", "live");
  await gateway.publish("orders/c", JSON.stringify({ number: 7 }));
  await shows(page, "live", "live 7");
  expect(complaints).toEqual([]);
});

it("a provider closes the client that it has made, and strict mode doesn't", async () => {
  const { page, complaints } = await open("&owning");
  await shows(page, "connection", "connected");
  // Those of the pages before end by and by.
  await expect.poll(connections).toBe(1);
  await page.getByRole("button", { name: "remove" }).click();
  await page.waitForFunction(() => document.getElementById("connection") === null);
  await expect.poll(connections).toBe(0);
  expect(complaints).toEqual([]);
});

async function connections(): Promise<number> {
  const answer = await fetch(`${gateway.url}/v1/connections`);
  return ((await answer.json()) as { connections: unknown[] }).connections.length;
}
