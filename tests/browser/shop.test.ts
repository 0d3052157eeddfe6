/** The shop of examples/shop in a browser: ordered on one page, shown on another, packed by a worker. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { build } from "vite";
import { PATIENCE, launchBrowser } from "./browser.js";
import { GatewayProcess } from "./gateway_process.js";
import { inWeb } from "./pages.js";

const SHOP = inWeb("../examples/shop");
const PYTHON = fileURLToPath(new URL("../../.venv/bin/python", import.meta.url));

let shop: GatewayProcess;
let browser: Browser;
let worker: ChildProcess | null = null;

beforeAll(async () => {
  // The script of the library, which the page takes from there.
  await build({ root: inWeb("client"), configFile: inWeb("client/vite.config.ts"), logLevel: "error" });
  shop = await GatewayProcess.start("", { app: "shop:app", path: SHOP, mount: "/realtime" });
  browser = await launchBrowser();
});

afterAll(async () => {
  if (worker !== null && worker.exitCode === null && worker.signalCode === null) {
    const gone = once(worker, "exit");
    worker.kill("SIGKILL");
    await gone;
  }
  await browser?.close();
  await shop?.stop();
});

async function open(): Promise<{ page: Page; complaints: string[] }> {
  const page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE);
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  await page.goto(shop.url);
  await page.locator("#state").getByText("connected").waitFor();
  return { page, complaints };
}

it("shows on every page what is ordered on one, and that it is packed once a worker is there", async () => {
  const [customer, office] = await Promise.all([open(), open()]);
  await customer.page.getByLabel("Total").fill("77");
  await customer.page.getByRole("button", { name: "Order" }).click();
  await customer.page.locator("output").getByText(/^taken as/).waitFor();
  const id = (await customer.page.locator("output").innerText()).replace("taken as ", "");
  for (const { page } of [customer, office]) {
    await page.locator("li", { hasText: `order ${id} over 77: created` }).waitFor();
  }
  expect(await office.page.locator("li", { hasText: "packed" }).count()).toBe(0);
  worker = spawn(PYTHON, [`${SHOP}/packing.py`, `${shop.url}/realtime`], { stdio: "inherit" });
  for (const { page } of [customer, office]) {
    await page.locator("li", { hasText: `order ${id} over 77: packed` }).waitFor();
  }
  const late = await open();
  await late.page.locator("li", { hasText: `order ${id} over 77: packed` }).waitFor();
  expect([customer, office, late].flatMap(({ complaints }) => complaints)).toEqual([]);
});

it("says what is refused", async () => {
  const { page } = await open();
  await page.getByLabel("Region").fill("EU");
  await page.getByRole("button", { name: "Order" }).click();
  await page.locator("output").getByText("refused (422)").waitFor();
});
