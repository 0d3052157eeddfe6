/** The README's tour by clicking. */
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

it("subscribe, publish, see it arrive, inspect it, pause", async () => {
  const opened = await ConsolePage.open(browser, gateway.url);
  const { page } = opened;
  await opened.subscribe("orders/#");
  await opened.publish("orders/eu/created", '{"total": 42}');
  await opened.line("orders/eu/created").waitFor();

  await opened.line("orders/eu/created").click();
  await opened.inspector.getByText('"total": 42').waitFor();
  await opened.inspector.getByText("application/json").waitFor();

  await gateway.publish("orders/us/created", '{"total": 7}');
  await opened.line("orders/us/created").waitFor();
  expect(await page.locator(".lines .cell-topic").allTextContents()).toEqual(["orders/us/created", "orders/eu/created"]);

  await page.getByRole("button", { name: "Pause" }).click();
  await gateway.publish("orders/fr/created", "1");
  await page.getByText("paused, 1 arrived since").waitFor();
  expect(await opened.line("orders/fr/created").count()).toBe(0);
  await page.getByRole("button", { name: "Resume" }).click();
  await opened.line("orders/fr/created").waitFor();
  await expect.poll(() => page.locator("#total").textContent()).toBe("3");
  expect(opened.complaints).toEqual([]);
});

it("a filter is checked while it is typed, and the rule is named", async () => {
  const opened = await ConsolePage.open(browser, gateway.url);
  const filter = opened.page.getByLabel("Topic filter");
  await filter.fill("a/#/b");
  await opened.page.getByText("'#' must be the last level").waitFor();
  expect(await filter.getAttribute("aria-invalid")).toBe("true");
  await filter.press("Enter");
  expect(await opened.page.locator(".chip").count()).toBe(0);
});

it("several filters give one line for each message, and one goes without the other", async () => {
  const opened = await ConsolePage.open(browser, gateway.url);
  await opened.subscribe("both/#");
  await opened.subscribe("+/one");
  await gateway.publish("both/one", "1");
  await opened.line("both/one").waitFor();
  expect(await opened.line().count()).toBe(1);

  await opened.page.getByRole("button", { name: "Unsubscribe from both/#" }).click();
  await expect.poll(() => opened.page.locator(".chip").count()).toBe(1);
  await gateway.publish("both/two", "2");
  await gateway.publish("other/one", "3");
  await opened.line("other/one").waitFor();
  expect(await opened.line("both/two").count()).toBe(0);
  await expect.poll(() => opened.page.url()).toContain("filter=%2B%2Fone");
  await opened.page.getByRole("button", { name: "Unsubscribe from +/one" }).click();
  await opened.page.locator(".chip").waitFor({ state: "detached" });
  await expect.poll(() => opened.page.url()).not.toContain("filter=");
});

it("a reload keeps the filters, and the keyboard goes through the list", async () => {
  const opened = await ConsolePage.open(browser, gateway.url);
  await opened.subscribe("keys/#");
  await opened.page.reload();
  await opened.page.locator(".chip:not(.pending)").getByText("keys/#").waitFor();
  await gateway.publish("keys/first", '"first body"');
  await gateway.publish("keys/second", '"second body"');
  await opened.line("keys/second").focus();
  await opened.page.keyboard.press("Enter");
  await opened.inspector.getByText("second body").waitFor();
  await opened.page.keyboard.press("ArrowDown");
  await opened.inspector.getByText("first body").waitFor();
});

it("text and bytes are shown as what they are", async () => {
  const opened = await ConsolePage.open(browser, gateway.url);
  await opened.subscribe("kinds/#");
  await opened.publish("kinds/text", "two\nlines", "text/plain");
  await opened.line("kinds/text").click();
  expect(await opened.inspector.locator("pre").textContent()).toBe("two\nlines");

  await gateway.publish("kinds/bytes", new Uint8Array([0x47, 0x49, 0x46, 0x00, 0xff]), "image/gif");
  await opened.line("kinds/bytes").click();
  await opened.inspector.getByText("47 49 46 00 ff").waitFor();
  await opened.inspector.getByText("image/gif").waitFor();
});

it("what a publisher sends is never run", async () => {
  const opened = await ConsolePage.open(browser, gateway.url);
  const attack = "<img src=x onerror=\"document.title='taken over'\"><script>document.title='taken over'</script>";
  await opened.subscribe("#");
  await gateway.publish(`attack/${encodeURIComponent(attack)}`, JSON.stringify({ [attack]: attack }));
  await opened.line("attack").click();
  await opened.inspector.getByText("onerror").first().waitFor();
  await gateway.publish("attack/text", attack, "text/html");
  await opened.line("attack/text").click();
  await opened.inspector.getByText("text/html").waitFor();
  expect(await opened.page.locator("#main img, #main script").count()).toBe(0);
  expect(await opened.page.title()).toBe("Topics · Fanout Gateway");
  expect(opened.complaints).toEqual([]);
});

it("the page may load and run nothing but its own", async () => {
  const policy = (await fetch(gateway.url)).headers.get("content-security-policy") ?? "";
  expect(policy).toContain("default-src 'self'");
  expect(policy).not.toContain("unsafe");
});
