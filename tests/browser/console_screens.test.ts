/**
 * Every room in light, dark and on a phone: nothing for axe to find, nothing that moves by itself, nothing wider than
 * the screen. What it looks like is kept in SCREENSHOTS, by default web/screenshots.
 */
import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { Client } from "@fanout-gateway/client";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ConsolePage, launchBrowser } from "./browser.js";
import { HOOK_SECRET, call, expectAccessible, fill, killSome, pull, startGateway } from "./console_fixture.js";
import type { GatewayProcess } from "./gateway_process.js";

const DIRECTORY = process.env["SCREENSHOTS"] ?? fileURLToPath(new URL("../../web/screenshots", import.meta.url));

/** For so many seconds there is something to plot first: for pictures that are shown. */
const WARM_UP = Number(process.env["CONSOLE_WARM_UP"] ?? 0);

const LOOKS: Readonly<Record<string, BrowserContextOptions>> = {
  light: { viewport: { width: 1200, height: 750 }, colorScheme: "light" },
  dark: { viewport: { width: 1200, height: 750 }, colorScheme: "dark", reducedMotion: "reduce" },
  phone: { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true },
};

/** The rooms with what is there once they are whole, and what to open in them. */
const ROOMS: readonly {
  name: string;
  at: string;
  ready: (page: Page) => Promise<unknown>;
  act?: (page: Page) => Promise<unknown>;
}[] = [
  { name: "overview", at: "overview", ready: (page) => page.getByText("dead letters in orders/billing").waitFor() },
  {
    name: "topics",
    at: "topics?filter=orders/%23&filter=devices/%23&from=last:100",
    ready: (page) => page.locator(".lines [role=row]").first().waitFor(),
    act: (page) => page.locator(".lines [role=row]").nth(2).click(),
  },
  {
    name: "topic-tree",
    at: "topics?filter=orders/%23&filter=devices/%23&from=last:100&view=tree",
    ready: (page) => page.locator(".lines [role=row]").first().waitFor(),
  },
  {
    name: "topic-state",
    at: "topics?filter=devices/%23&view=state",
    ready: (page) => page.getByText("10 topics, current").waitFor(),
  },
  {
    name: "connections",
    at: "connections",
    ready: (page) => page.locator(".lines [role=row]").nth(2).waitFor(),
    act: async (page) => {
      await page.locator(".lines [role=row]").first().click();
      await page.getByRole("heading", { name: "Rights" }).waitFor();
    },
  },
  { name: "streams", at: "streams", ready: (page) => page.locator(".lines [role=row]").first().waitFor() },
  { name: "stream", at: "streams/orders", ready: (page) => page.getByRole("figure").first().waitFor() },
  {
    name: "stream-messages",
    at: "streams/orders/messages",
    ready: (page) => page.locator(".lines [role=row]").first().waitFor(),
    act: (page) => page.locator(".lines [role=row]").nth(2).click(),
  },
  { name: "queues", at: "queues", ready: (page) => page.locator(".lines [role=row]").first().waitFor() },
  { name: "queue", at: "queues/orders/billing?offset=15", ready: (page) => page.locator(".forecast").waitFor() },
  {
    name: "dead-letters",
    at: "dead-letters",
    ready: (page) => page.locator(".lines [role=row]").first().waitFor(),
    act: (page) => page.locator(".lines [role=row]").nth(1).click(),
  },
  {
    name: "webhooks",
    at: "webhooks",
    ready: (page) => page.locator(".lines [role=row]").first().waitFor(),
    act: (page) => page.locator(".lines [role=row]", { hasText: "refused" }).click(),
  },
  { name: "nodes", at: "nodes", ready: (page) => page.getByRole("region", { name: "Now" }).waitFor() },
  {
    name: "settings",
    at: "settings?changed=yes",
    ready: (page) => page.locator(".lines [role=row]").first().waitFor(),
  },
  { name: "audit", at: "audit", ready: (page) => page.locator(".lines [role=row]").first().waitFor() },
];

let gateway: GatewayProcess;
let browser: Browser;
const clients: Client[] = [];

beforeAll(
  async () => {
    await mkdir(DIRECTORY, { recursive: true });
    gateway = await startGateway();
    browser = await launchBrowser();
    await fill(gateway, 200);
    await killSome(gateway, 6);
    for (const filter of ["orders/#", "orders/eu/+", "devices/+/state"]) {
      const client = new Client(gateway.url);
      clients.push(client);
      await client.subscribe(filter, { onMessage: () => undefined });
    }
    await warmUp();
    await pull(gateway, 5);
    await deliver("not the secret");
    await deliver(HOOK_SECRET);
    await fetch(`${gateway.url}/v1/disconnect`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: '{"subject": "eve", "block_seconds": 60}',
    });
  },
  120_000 + WARM_UP * 1000,
);

afterAll(async () => {
  for (const client of clients) client.close();
  await browser?.close();
  await gateway?.stop();
});

/** Publishes and works off, now more and now less. */
async function warmUp(): Promise<void> {
  const publisher = new Client(gateway.url);
  await publisher.connect();
  const began = Date.now();
  for (let number = 201; Date.now() - began < WARM_UP * 1000; number += 1) {
    const topic =
      number % 3 === 0
        ? `devices/${number % 10}/state`
        : `orders/${number % 2 === 0 ? "eu" : "us"}/${number % 5 === 0 ? "paid" : "created"}`;
    await publisher.publish(topic, { number, customer: `customer-${number % 7}`, on: number % 4 < 2 });
    if (number % 20 === 0) {
      const deliveries = (await pull(gateway, 12)).map(({ delivery }) => delivery);
      if (deliveries.length > 0) await call(gateway, "streams/orders/groups/billing/ack", { deliveries });
    }
    await new Promise((resolve) => setTimeout(resolve, 20 + 15 * Math.sin((Date.now() - began) / 40_000)));
  }
  publisher.close();
}

/** Sends the hook a delivery that is signed with this secret. */
async function deliver(secret: string): Promise<void> {
  const body = '{"repository": {"full_name": "acme/shop"}}';
  const key = await crypto.subtle.importKey(
    "raw",
    new TextEncoder().encode(secret),
    { name: "HMAC", hash: "SHA-256" },
    false,
    ["sign"],
  );
  const signature = Buffer.from(await crypto.subtle.sign("HMAC", key, new TextEncoder().encode(body))).toString("hex");
  const headers = {
    "content-type": "application/json",
    "x-hub-signature-256": `sha256=${signature}`,
    "x-github-event": "push",
    "x-github-delivery": secret.length.toString(),
  };
  await (await fetch(`${gateway.url}/v1/hooks/shop`, { method: "POST", headers, body })).arrayBuffer();
}

describe.each(Object.entries(LOOKS))("%s", (look, options) => {
  it.each(ROOMS)("$name", async ({ name, at, ready, act }) => {
    const opened = await ConsolePage.visit(browser, gateway.url, at, options);
    const { page } = opened;
    try {
      await ready(page);
      await act?.(page);
      await page.evaluate(() => document.fonts.ready);
      await page.screenshot({ path: `${DIRECTORY}/${name}-${look}.png`, animations: "disabled" });
      await expectAccessible(page);
      expect(await page.evaluate(sidewaysOverflow)).toBe(0);
      expect(await page.evaluate(layoutShift)).toBeLessThan(0.1);
      expect(opened.complaints).toEqual([]);
    } finally {
      await page.context().close();
    }
  });
});

it("the menu and the dialogs are as accessible as the rooms", async () => {
  const opened = await ConsolePage.open(browser, gateway.url, "topics", LOOKS["phone"]);
  const { page } = opened;
  await page.getByRole("button", { name: /^Topics/ }).click();
  await page.getByRole("link", { name: "Dead letters" }).waitFor();
  await page.getByRole("button", { name: "Anonymous" }).click();
  await expectAccessible(page);
  await page.getByRole("button", { name: "Anonymous" }).click();
  await page.getByRole("link", { name: "Streams", exact: true }).click();
  await page.locator(".lines [role=row]", { hasText: "orders" }).click();
  await page.getByRole("button", { name: "Purge …" }).click();
  await page.getByRole("dialog").getByLabel("Topic filter").fill("orders/eu/#");
  await expectAccessible(page);
  await page.getByRole("button", { name: "See what it would remove" }).click();
  await page.getByText(/^It would remove/).waitFor();
  await expectAccessible(page);
  await page.context().close();
});

it("everything is reached by the keyboard alone", async () => {
  const opened = await ConsolePage.open(browser, gateway.url, "overview");
  const { page } = opened;
  const press = async (...keys: string[]): Promise<void> => {
    for (const key of keys) await page.keyboard.press(key);
  };
  const tabTo = async (
    name: string | RegExp,
    role: "link" | "button" | "grid" | "textbox" | "row" = "link",
  ): Promise<void> => {
    for (let times = 0; times < 60; times += 1) {
      await press("Tab");
      const focused = page.locator(":focus");
      if ((await focused.count()) === 0) continue;
      if (await focused.and(page.getByRole(role, { name, exact: typeof name === "string" })).count()) return;
    }
    throw new Error(`the keyboard does not come to ${name}`);
  };
  await tabTo("Skip to the content");
  await press("Enter");
  await expect.poll(() => page.evaluate(() => document.activeElement?.id)).toBe("main");
  await press("Shift+Tab");
  await page.evaluate(() => document.querySelector<HTMLElement>(".skip")?.focus());
  await tabTo("Dead letters");
  await press("Enter");
  await page.getByRole("heading", { name: "Dead letters" }).waitFor();
  await opened.line("orders/").first().waitFor();
  await tabTo(/orders\//, "row");
  await press("ArrowDown", "Enter");
  await opened.inspector.getByText("Attempts").waitFor();
  await press("ArrowDown", "End", "Home");
  await tabTo("Redrive this …", "button");
  await press("Enter");
  await page.getByText("1 letter would be sent back.").waitFor();
  await press("Escape");
  // The focus is back where it was.
  await expect.poll(() => page.evaluate(() => document.activeElement?.textContent)).toBe("Redrive this …");
});

/** In the page: by how many pixels it is wider than the screen. */
function sidewaysOverflow(): number {
  return Math.max(0, document.documentElement.scrollWidth - document.documentElement.clientWidth);
}

/** In the page: the sum of all shifts that nobody asked for (Core Web Vitals: below 0.1 is good). */
function layoutShift(): Promise<number> {
  return new Promise((resolve) => {
    let sum = 0;
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries() as (PerformanceEntry & { value: number; hadRecentInput: boolean })[]) {
        if (!entry.hadRecentInput) sum += entry.value;
      }
    }).observe({ type: "layout-shift", buffered: true });
    setTimeout(() => resolve(sum), 100);
  });
}
