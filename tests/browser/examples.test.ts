/** The pages of examples/browser, built and served as their README says, in a browser. */
import { readFile } from "node:fs/promises";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type PreviewServer, build, preview } from "vite";
import { PATIENCE, launchBrowser } from "./browser.js";
import { GatewayProcess } from "./gateway_process.js";
import { inWeb } from "./pages.js";

const EXAMPLES = inWeb("../examples/browser");

let gateway: GatewayProcess;
let browser: Browser;
let server: PreviewServer;
let origin: string;

beforeAll(async () => {
  gateway = await GatewayProcess.start(`streams = [{ name = "orders", filter = "orders/#", last_values = true }]\n`);
  process.env["GATEWAY_URL"] = gateway.url;
  const configFile = `${EXAMPLES}/vite.config.js`;
  // The script of the library, which the page takes from there.
  await build({ root: inWeb("client"), configFile: inWeb("client/vite.config.ts"), logLevel: "error" });
  await build({ configFile, logLevel: "error" });
  server = await preview({ configFile, logLevel: "silent", preview: { port: 0, host: "127.0.0.1" } });
  const address = server.httpServer.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  origin = `http://127.0.0.1:${address.port}`;
  browser = await launchBrowser();
});

afterAll(async () => {
  await browser?.close();
  await server?.close();
  await gateway?.stop();
});

async function open(name: string): Promise<{ page: Page; complaints: string[] }> {
  const page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE);
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  await page.goto(`${origin}/${name}.html`);
  await page.locator("#state").getByText("connected").waitFor();
  return { page, complaints };
}

async function lists(page: Page, text: string): Promise<void> {
  await page.locator("li", { hasText: text }).first().waitFor();
}

it("all three show what was, what comes, and go on over a gateway that is restarted", async () => {
  await gateway.publish("orders/eu", `{"total": 1}`);
  const opened = await Promise.all(["library", "event_source", "react"].map(open));
  for (const { page } of opened) await lists(page, "orders/eu: 1");
  await gateway.publish("orders/eu", `{"total": 2}`);
  for (const { page } of opened) await lists(page, "orders/eu: 2");
  // Not killed: the server in between doesn't tell a page that an answer broke off.
  await gateway.terminate().ended;
  for (const { page } of opened) await page.locator("#state").getByText("reconnecting").waitFor();
  await gateway.run();
  await gateway.publish("orders/eu", `{"total": 3}`);
  for (const { page } of opened) await lists(page, "orders/eu: 3");
  expect(opened.flatMap(({ complaints }) => complaints)).toEqual([]);
  for (const { page } of opened) await page.close();
});

it.each(["library", "react"])("%s.html publishes", async (name) => {
  const { page } = await open(name);
  await page.getByLabel("Total").fill("77");
  await page.getByRole("button", { name: "Order" }).click();
  await page.locator("output").getByText("ordered as").waitFor();
  await lists(page, "orders/eu/created: 77");
  await page.close();
});

it.each(["library", "event_source"])("%s.html is under 40 lines", async (name) => {
  expect((await readFile(`${EXAMPLES}/${name}.html`, "utf8")).split("\n").length).toBeLessThan(40);
});
