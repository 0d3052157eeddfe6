/** Each room of the console by clicking through its job, against a real gateway. */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Client } from "@fanout-gateway/client";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { ConsolePage, launchBrowser } from "./browser.js";
import { HOOK_SECRET, call, fill, killSome, pull, startGateway } from "./console_fixture.js";
import type { GatewayProcess } from "./gateway_process.js";

const PYTHON = fileURLToPath(new URL("../../.venv/bin/python", import.meta.url));

let gateway: GatewayProcess;
let browser: Browser;

beforeAll(async () => {
  gateway = await startGateway();
  await fill(gateway);
  browser = await launchBrowser();
});

afterAll(async () => {
  await browser?.close();
  await gateway?.stop();
});

// One gateway for all, since a start is what takes longest: its pages go with each test, and the last one drains it.
afterEach(async () => {
  for (const context of browser.contexts()) await context.close();
});

async function open(room: string): Promise<{ opened: ConsolePage; page: Page }> {
  const opened = await ConsolePage.open(browser, gateway.url, room);
  return { opened, page: opened.page };
}

it("overview: says what is wrong, and leads to the room for it", async () => {
  await killSome(gateway, 3);
  const { opened, page } = await open("overview");
  const wrong = page.getByRole("region", { name: "What is wrong now" });
  await wrong.getByText("3 dead letters in orders/billing.").click();
  await page.getByRole("heading", { name: "Dead letters" }).waitFor();
  await opened.line("orders/").first().waitFor();
  expect(opened.complaints).toEqual([]);
});

it("overview: shows what goes on, second by second", async () => {
  const { opened, page } = await open("overview");
  const published = page.getByRole("img", { name: /^Published a second over the last 15 minutes/ });
  await published.waitFor();
  const client = new Client(gateway.url);
  await client.subscribe("live/#", { onMessage: () => undefined });
  const connections = page.locator(".figure", { hasText: "Connections" }).locator(".figure-value");
  // The page's own connection, and the client's.
  await expect.poll(() => connections.textContent()).toBe("2");
  client.close();
  await expect.poll(() => connections.textContent()).toBe("1");
  expect(opened.complaints).toEqual([]);
});

it("topics: history, tree and state of a filter that is in the address", async () => {
  const { opened, page } = await open("topics?filter=orders/%23&filter=devices/%23&from=last:100");
  await opened.line("orders/eu/paid").first().waitFor();
  await expect.poll(() => page.locator("#total").textContent()).toBe("50");
  // Another room in between: the tail goes on, and so does the address.
  await page.getByRole("link", { name: "Nodes" }).click();
  await page.getByRole("heading", { name: "Nodes" }).waitFor();
  await page.getByRole("navigation", { name: "Rooms" }).getByRole("link", { name: "Topics" }).click();
  await opened.line("orders/eu/paid").first().waitFor();
  await expect.poll(() => new URL(page.url()).hash).toContain("filter=orders%2F%23&filter=devices%2F%23&from=last%3A100");

  await page.getByRole("navigation", { name: "View" }).getByRole("link", { name: "Topics" }).click();
  await opened.line("created").first().waitFor();
  await expect.poll(() => page.url()).toContain("view=tree");
  await opened.line(/^▾orders/).focus();
  await page.keyboard.press("ArrowLeft");
  await expect.poll(() => opened.line("created").count()).toBe(0);
  await page.keyboard.press("ArrowRight");
  await opened.line("created").first().waitFor();
  await page.getByRole("button", { name: "Only orders/eu", exact: true }).click();
  await page.locator(".chip:not(.pending)").getByText("orders/eu/#").waitFor();
  await expect.poll(() => new URL(page.url()).hash).toContain("filter=orders%2Feu%2F%23");

  await page.goto(`${gateway.url}/#/topics?filter=devices/%23&view=state`);
  await page.getByText("10 topics, current").waitFor();
  await gateway.publish("devices/3/state", '{"on": "changed"}');
  await opened.line("devices/3/state").getByText("changed").waitFor();

  await page.getByRole("button", { name: "Copy as …" }).first().click();
  await page.getByRole("region", { name: "curl" }).getByText("v1/events?filter=devices%2F%23&from=snapshot'").waitFor();
  await page.keyboard.press("Escape");
  expect(opened.complaints).toEqual([]);
});

it("topics: what is copied does from elsewhere what the page does", async () => {
  const { opened, page } = await open("topics?filter=copied/%23");
  await page.locator(".chip:not(.pending)").waitFor();
  await page.getByRole("region", { name: "Publish" }).getByLabel("Topic", { exact: true }).fill("copied/it's");
  await page.getByRole("region", { name: "Publish" }).getByLabel("Body", { exact: true }).fill('{"quote": "it\'s"}');
  await page.getByRole("region", { name: "Publish" }).getByRole("button", { name: "Copy as …" }).click();
  const snippet = async (language: string): Promise<string> =>
    (await page.getByRole("region", { name: language }).locator("pre").textContent()) ?? "";
  const [curl, python] = [await snippet("curl"), await snippet("Python")];
  await page.keyboard.press("Escape");
  await promisify(execFile)("bash", ["-c", curl]);
  await opened.line('"quote":"it\'s"').waitFor();
  await promisify(execFile)(PYTHON, ["-c", python]);
  await expect.poll(() => opened.line('"quote":"it\'s"').count()).toBe(2);

  await page.getByRole("button", { name: "Copy as …" }).first().click();
  const listener = spawn(PYTHON, ["-u", "-c", await snippet("Python")]);
  const heard = once(createInterface(listener.stdout), "line");
  await page.keyboard.press("Escape");
  // Again and again: nobody knows when it has subscribed.
  const publishing = setInterval(() => void gateway.publish("copied/heard", "7").catch(() => undefined), 200);
  try {
    expect(await heard).toEqual(["copied/heard 7"]);
  } finally {
    clearInterval(publishing);
    const ended = once(listener, "exit");
    listener.kill();
    await ended;
  }
});

it("connections: finds one, looks into it, ends it", async () => {
  const client = new Client(gateway.url);
  await client.subscribe("looked/at/#", { onMessage: () => undefined });
  const { opened, page } = await open("connections");
  await expect.poll(() => opened.line("websocket").count()).toBe(2);
  const session = await page.evaluate(async () => {
    const { connections } = (await (await fetch("v1/connections")).json()) as {
      connections: { session: string; subscriptions: number }[];
    };
    return connections.find(({ subscriptions }) => subscriptions === 1)?.session;
  });
  await page.goto(`${gateway.url}/#/connections?session=${session}`);
  const details = page.getByRole("region", { name: "Connection" });
  await details.getByText("looked/at/#").waitFor();
  await details.getByText("spill", { exact: true }).waitFor();

  const closed = new Promise((resolve) => client.on("state", ({ state }) => state === "closed" && resolve(state)));
  await details.getByRole("button", { name: "Disconnect" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Disconnect" }).click();
  await page.getByText("It has been closed with 4403").waitFor();
  expect(await closed).toBe("closed");
  await page.getByRole("dialog").getByRole("button", { name: "Close", exact: true }).last().click();
  await details.getByText("It has ended.").waitFor();
  await page.getByLabel("Address begins with").fill("10.");
  await page.getByText("No connection matches.").waitFor();
  expect(opened.complaints.filter((line) => !line.includes("404"))).toEqual([]);
});

it("streams: lists the topics of one", async () => {
  const { opened, page } = await open("streams/orders/topics");
  await expect.poll(() => opened.line().count()).toBe(3);
  await opened.line("orders/eu/paid").click();
  await expect.poll(() => opened.line("orders/eu/paid").count()).toBe(10);
  await expect.poll(() => page.url()).toContain("filter=orders%2Feu%2Fpaid");
});

it("streams: reads at an offset, and purges after having said how many", async () => {
  const { opened, page } = await open("streams");
  await opened.line("orders/#").click();
  await page.getByText("Messages stored a second").waitFor();
  await page.getByRole("navigation", { name: "View" }).getByRole("link", { name: "Messages" }).click();
  const where = page.getByRole("form", { name: "Where to read" });
  await where.getByLabel("Read", { exact: true }).selectOption("An offset");
  await where.getByLabel("Offset").fill("30");
  await where.getByRole("button", { name: "Read" }).click();
  await expect.poll(() => page.locator(".lines .cell-offset").first().textContent()).toBe("30");
  await opened.line().first().click();
  await opened.inspector.getByText('"number": 30').waitFor();

  await page.getByRole("button", { name: "Purge …" }).click();
  await page.getByRole("dialog").getByLabel("Topic filter").fill("orders/eu/paid");
  await page.getByRole("button", { name: "See what it would remove" }).click();
  await page.getByText(/^It would remove 10 messages, [\d.]+ KiB: offsets 4 to 40\.$/).waitFor();
  expect(await holds()).toBe(10);
  await page.getByRole("button", { name: "Purge for good" }).click();
  await page.getByText("10 messages purged.").waitFor();
  expect(await holds()).toBe(0);
  expect(opened.complaints).toEqual([]);

  async function holds(): Promise<number> {
    return (await call<{ messages: unknown[] }>(gateway, "streams/orders/messages?filter=orders/eu/paid")).messages
      .length;
  }
});

it("queues: where is it, who has it, and a pause", async () => {
  const [first] = await pull(gateway, 1);
  const { opened, page } = await open("queues");
  await opened.line("billing").click();
  await page.getByRole("figure", { name: "Depth" }).waitFor();
  await page.getByRole("region", { name: "Not finished" }).getByRole("row").nth(1).getByText("http/").waitFor();
  const where = page.getByRole("region", { name: "Where is it?" });
  await where.getByLabel("Offset").fill(String(first?.offset));
  await where.getByRole("button", { name: "Find" }).click();
  await where.getByText(/http\/.* has it since/).waitFor();
  const other = await call<{ offset: number }>(gateway, "topics/orders/eu/paid", { number: 0 });
  await where.getByLabel("Offset").fill(String(other.offset));
  await where.getByRole("button", { name: "Find" }).click();
  await where.getByText("It is not for this group").waitFor();
  await where.getByLabel("Offset").fill("1000");
  await where.getByRole("button", { name: "Find" }).click();
  await where.getByText("It has not been published yet.").waitFor();

  await page.getByRole("button", { name: "Pause …" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Pause" }).click();
  await page.getByText("Its members get nothing new, on all nodes").waitFor();
  expect(await pull(gateway, 1)).toEqual([]);
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Resume …" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Resume" }).click();
  await page.getByText("Its members are served again.").waitFor();
  expect(await pull(gateway, 1)).toHaveLength(1);
  expect(opened.complaints).toEqual([]);
});

it("dead letters: searched, looked at, sent back and given up", async () => {
  await call(gateway, "streams/orders/groups/billing/dead-letters", {}, "DELETE");
  await killSome(gateway, 8);
  const { opened, page } = await open("dead-letters");
  await expect.poll(() => opened.line("orders/").count()).toBe(8);
  const search = page.getByRole("search", { name: "Search dead letters" });
  await search.getByLabel("Contains").fill("CUSTOMER-1");
  await search.getByRole("button", { name: "Search" }).click();
  const some = (many: number): boolean => many > 0 && many < 8;
  await expect.poll(() => opened.line("orders/").count()).toSatisfy(some);
  const found = await opened.line("orders/").count();
  await opened.line("orders/").first().click();
  await opened.inspector.getByText('"customer": "customer-1"').waitFor();

  await page.getByRole("button", { name: "Redrive those found …" }).click();
  await page.getByText(`${found} letter${found === 1 ? "" : "s"} would be sent back.`).waitFor();
  expect(await dead()).toBe(8);
  await page.getByRole("dialog").getByRole("button", { name: "Redrive" }).click();
  await page.getByText(`${found} letter${found === 1 ? "" : "s"} sent back.`).waitFor();
  expect(await dead()).toBe(8 - found);
  await page.keyboard.press("Escape");

  await search.getByLabel("Contains").fill("");
  await search.getByRole("button", { name: "Search" }).click();
  await expect.poll(() => opened.line("orders/").count()).toBe(8 - found);
  await opened.line().nth(0).getByRole("checkbox").check();
  await opened.line().nth(1).getByRole("checkbox").check();
  await page.getByRole("button", { name: "Discard 2 …" }).click();
  await page.getByText("2 letters would be given up for good.").waitFor();
  await page.getByRole("button", { name: "Discard for good" }).click();
  await page.getByText("2 letters given up.").waitFor();
  expect(await dead()).toBe(6 - found);
  expect(opened.complaints).toEqual([]);

  async function dead(): Promise<number> {
    return (await call<{ dead: number }>(gateway, "streams/orders/groups/billing")).dead;
  }
});

it("webhooks: a delivery that is refused says why, one that is signed is published, and again", async () => {
  const { opened, page } = await open("webhooks");
  await page.getByText("No delivery has come since the nodes began.").waitFor();
  await page.getByRole("button", { name: "Try a payload …" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Secret").fill("not the secret");
  await dialog.getByRole("button", { name: "Send" }).click();
  await dialog.getByText(/^401/).waitFor();
  await dialog.getByLabel("Secret").fill(HOOK_SECRET);
  await dialog.getByRole("button", { name: "Send" }).click();
  await dialog.getByText(/^201/).waitFor();
  await page.keyboard.press("Escape");

  await opened.line("refused").click();
  const delivery = page.getByRole("region", { name: "Delivery" });
  await delivery.getByText(/^Refused: /).waitFor();
  await opened.line("published").click();
  await delivery.getByText("orders/hooks/sample").waitFor();
  await delivery.getByRole("button", { name: "Publish again …" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Publish" }).click();
  await page.getByText(/^Published as /).waitFor();
  await page.keyboard.press("Escape");
  await opened.line("replayed").waitFor();
  expect(opened.complaints.filter((line) => !line.includes("401"))).toEqual([]);
});

it("settings: found, with their source, and without secrets", async () => {
  const { opened, page } = await open("settings");
  await page.getByRole("search").getByLabel("only those that are not the default").check();
  await opened.line("hooks").click();
  const value = page.getByLabel("Value", { exact: true });
  await value.getByText('"shop"').waitFor();
  expect(await page.content()).not.toContain(HOOK_SECRET);
  await page.getByRole("search").getByLabel("only those that are not the default").uncheck();
  await page.getByLabel("Search", { exact: true }).fill("message_bytes");
  await opened.line("limits.message_bytes").waitFor();
  await page.getByRole("button", { name: "Reload …" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Reload" }).click();
  await page.getByText("Nothing that can change while it runs has changed.").waitFor();
  expect(opened.complaints).toEqual([]);
});

it("audit: tells what was done in other rooms", async () => {
  await call(gateway, "disconnect", { subject: "eve", block_seconds: 60 });
  const { opened, page } = await open("audit");
  await opened.line("/v1/disconnect").click();
  await page.getByRole("region", { name: "Record" }).getByText('"subject": "eve"').waitFor();
  await page.getByLabel("Search", { exact: true }).fill("nothing like that");
  await page.getByText("No record matches.").waitFor();
  expect(opened.complaints).toEqual([]);
});

it("nodes: shows how it is, and drains it", async () => {
  const { page } = await open("nodes");
  await page.getByText("ready", { exact: true }).waitFor();
  await page.getByRole("region", { name: "Now" }).getByText("connected").waitFor();
  await page.getByRole("button", { name: "Drain …" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Drain" }).click();
  await page.getByText("It drains, and ends").waitFor();
  await gateway.ended();
  await page.keyboard.press("Escape");
  // The page stays, tells, and is back as soon as the gateway is.
  await page.getByText("Reconnecting").waitFor();
  await gateway.run();
  await page.getByText("Connected", { exact: true }).waitFor();
});
