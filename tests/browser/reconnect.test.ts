/** A gateway that dies and comes back. */
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { ConsolePage, launchBrowser } from "./browser.js";
import { GatewayProcess } from "./gateway_process.js";

let gateway: GatewayProcess;
let browser: Browser;

beforeAll(async () => {
  gateway = await GatewayProcess.start();
  browser = await launchBrowser();
});

afterAll(async () => {
  await browser?.close();
  await gateway?.stop();
});

it("after a kill and a restart the page is connected again, tells the gap and goes on", async () => {
  const opened = await ConsolePage.open(browser, gateway.url);
  await opened.subscribe("orders/#");
  await gateway.publish("orders/before", "1");
  await opened.line("orders/before").waitFor();

  await gateway.kill();
  await opened.waitForState("Reconnecting");
  await gateway.run();
  await opened.waitForState("Connected");
  await opened.page.locator(".line.gap", { hasText: "Gap on orders/#: the connection was away" }).waitFor();

  await gateway.publish("orders/after", "2");
  await opened.line("orders/after").waitFor();
  expect(await opened.line("orders/before").count()).toBe(1);
});
