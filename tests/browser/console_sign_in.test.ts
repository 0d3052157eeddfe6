/** The console of a gateway that asks who comes: signing in, what a principal sees, renewing in band, masks. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Client } from "@fanout-gateway/client";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { ConsolePage, launchBrowser } from "./browser.js";
import { expectAccessible } from "./console_fixture.js";
import { GatewayProcess } from "./gateway_process.js";
import { token } from "./tokens.js";

const PROGRAM = fileURLToPath(new URL("../../.venv/bin/gateway", import.meta.url));
/** Milliseconds: the gateway's for clocks that differ, and then for renewing. */
const LEEWAY = 5000;
const GRACE = 1000;
const SETTINGS = `
[auth]
mode = "required"
expiry_grace = "${GRACE / 1000}s"

[[auth.keys]]
algorithm = "HS256"
secret = "env:BROWSER_TEST_SECRET"

[console]
mask = ["$.card.number", "$..password"]

[[streams]]
name = "orders"
filter = "orders/#"

[[streams.groups]]
name = "billing"
filter = "orders/+"

[[streams]]
name = "devices"
filter = "devices/#"
`;

let gateway: GatewayProcess;
let browser: Browser;
let configuration: string;
let key: string;

beforeAll(async () => {
  const [made = "", ...block] = (
    await run("key", "create", "--name", "operators", "--admin", "--subscribe", "#")
  ).split("\n");
  key = made.trim();
  gateway = await GatewayProcess.start(SETTINGS + block.join("\n"));
  configuration = join(gateway.home, "gateway.toml");
  browser = await launchBrowser();
});

afterAll(async () => {
  await browser?.close();
  await gateway?.stop();
});

async function run(...command: string[]): Promise<string> {
  const [program = PROGRAM, ...first] = (process.env["GATEWAY_COMMAND"] ?? PROGRAM).split(" ");
  return (await promisify(execFile)(program, [...first, ...command])).stdout;
}

/** A token as the command line makes one. */
async function printed(...options: string[]): Promise<string> {
  return (await run("token", "--config", configuration, ...options)).trim();
}

const ADMIN = { admin: true, subscribe: ["#"], publish: ["#"], consume: ["orders/billing"] };

async function signIn(page: Page, credential: string, button = "Sign in"): Promise<void> {
  await page.getByLabel("Token or API key").fill(credential);
  await page.getByRole("button", { name: button, exact: true }).click();
}

async function publish(body: unknown, topic = "orders/eu"): Promise<void> {
  await post(`topics/${topic}`, body);
}

/** A call about the stream `orders`. */
async function asAdmin<Answer>(path: string, body: unknown): Promise<Answer> {
  return (await post(`streams/orders/${path}`, body)) as Answer;
}

async function post(path: string, body: unknown): Promise<unknown> {
  const answer = await fetch(`${gateway.url}/v1/${path}`, {
    method: "POST",
    headers: { authorization: `Bearer ${token("ann", ADMIN)}`, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(await answer.text());
  return await answer.json();
}

async function rooms(page: Page): Promise<readonly string[]> {
  return await page.getByRole("navigation", { name: "Rooms" }).getByRole("link").allTextContents();
}

it("asks for a token, says what is wrong with one, and opens with the right one", async () => {
  const opened = await ConsolePage.visit(browser, gateway.url, "topics?filter=orders/%23");
  const { page } = opened;
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  await expectAccessible(page);
  await signIn(page, "nonsense");
  await page.locator(".hint.problem").waitFor();
  await signIn(
    page,
    await printed("--sub", "ann", "--admin", "--subscribe", "#", "--publish", "#", "--expires", "1h"),
  );
  await opened.waitForState("Connected");
  // The address it was opened with is the one it goes on with.
  await page.locator(".chip:not(.pending)").getByText("orders/#").waitFor();
  await publish({ card: { number: "4111", name: "Ann" }, account: { password: "p4ss" } });
  await opened.line("orders/eu").getByText('"name":"Ann"').waitFor();
  await page.getByRole("button", { name: "ann" }).waitFor();

  // In memory and nowhere else.
  const kept = await page.evaluate(() =>
    JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href]),
  );
  expect(kept).not.toContain("eyJ");
  await page.reload();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
});

it("covers what the settings mask", async () => {
  const opened = await ConsolePage.visit(browser, gateway.url, "topics?filter=orders/%23&from=last:10");
  const { page } = opened;
  await publish({ card: { number: "4111", name: "Ann" }, account: { password: "p4ss" } });
  await signIn(page, token("ann", ADMIN));
  await opened.line("orders/eu").first().click();
  await opened.inspector.getByText('"number": "***"').waitFor();
  const text = await page.evaluate(() => document.body.innerText);
  expect(text).toContain("Ann");
  expect(text).not.toContain("4111");
  expect(text).not.toContain("p4ss");
});

it("shows a principal without admin what its grants allow", async () => {
  const opened = await ConsolePage.visit(browser, gateway.url, "");
  const { page } = opened;
  await signIn(page, token("bob", { subscribe: ["orders/#"] }));
  await opened.waitForState("Connected");
  await page.getByRole("heading", { name: "Topics", exact: true }).waitFor();
  await expect.poll(() => rooms(page)).toEqual(["Topics", "Streams"]);
  await opened.subscribe("orders/#");
  await page.getByLabel("Topic filter").fill("devices/#");
  await page.getByRole("button", { name: "Subscribe", exact: true }).click();
  await page.locator(".hint.problem", { hasText: "devices/#" }).waitFor();
  await page.goto(`${gateway.url}/#/connections`);
  await page.getByText("This room needs the grant admin").waitFor();
  expect(opened.complaints).toEqual([]);
});

it("shows who may read a part of a stream that part, and who may consume from a group that group", async () => {
  for (const topic of ["orders/eu", "orders/us"]) await publish({ at: topic }, topic);
  const { deliveries } = await asAdmin<{ deliveries: { delivery: string }[] }>("groups/billing/pull", { max: 100 });
  await asAdmin("groups/billing/nack", { deliveries: deliveries.map(({ delivery }) => delivery), dead: true });
  const opened = await ConsolePage.visit(browser, gateway.url, "streams");
  const { page } = opened;
  await signIn(page, token("bob", { subscribe: ["orders/us"], consume: ["orders/billing"] }));
  await opened.waitForState("Connected");
  await expect.poll(() => rooms(page)).toEqual(["Topics", "Streams", "Queues", "Dead letters"]);
  await opened.line("orders/#").click();
  await page.getByText("You may read").waitFor();
  // What is not told of the rest of the stream is not made up either.
  const main = page.getByRole("main");
  for (const untold of ["no bound", "not kept"]) expect(await main.innerText()).not.toContain(untold);
  await expectAccessible(page);
  expect(await page.getByRole("button", { name: "Purge …" }).count()).toBe(0);
  await page.getByRole("navigation", { name: "View" }).getByRole("link", { name: "Messages" }).click();
  await opened.line("orders/us").first().waitFor();
  expect(await opened.line("orders/eu").count()).toBe(0);

  await page.goto(`${gateway.url}/#/queues`);
  await opened.line("billing").click();
  await page.getByRole("region", { name: "Where is it?" }).waitFor();
  expect(await page.getByRole("button", { name: "Pause …" }).count()).toBe(0);
  await expectAccessible(page);
  await page.goto(`${gateway.url}/#/dead-letters`);
  await opened.line("orders/us").first().click();
  await opened.inspector.getByText('"at": "orders/us"').waitFor();
  expect(await page.getByRole("button", { name: /Redrive|Discard/ }).count()).toBe(0);
  await expectAccessible(page);
  await page.goto(`${gateway.url}/#/webhooks`);
  await page.getByText("This room needs the grant admin").waitFor();
  expect(opened.complaints).toEqual([]);
});

it("takes an API key, whose name is the subject, and blocks a subject until that is lifted", async () => {
  const opened = await ConsolePage.visit(browser, gateway.url, "connections");
  const { page } = opened;
  await signIn(page, key);
  await page.getByRole("button", { name: "operators" }).waitFor();
  const eve = new Client(gateway.url, { token: token("eve", { subscribe: ["#"] }) });
  await eve.connect();
  const ended = new Promise<string>((resolve) =>
    eve.on("state", ({ state, error }) => state === "closed" && resolve(error?.code ?? "")),
  );
  await opened.line("eve").click();
  await page.getByRole("region", { name: "Connection" }).getByRole("button", { name: "Block …" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Go ahead" }).click();
  await page.getByText(/^1 connection closed, blocked until/).waitFor();
  expect(await ended).toBe("forbidden");
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Block a subject …" }).click();
  await page.getByRole("dialog").getByLabel("Subject").fill("eve");
  await page.getByRole("dialog").getByLabel("What").selectOption("Lift a block");
  await page.getByRole("dialog").getByRole("button", { name: "Go ahead" }).click();
  await page.getByText(/^0 connections closed, not blocked/).waitFor();
  const again = new Client(gateway.url, { token: token("eve", { subscribe: ["#"] }) });
  await again.connect();
  again.close();
});

it("renews in band: the connection, its session and the list stay", async () => {
  const opened = await ConsolePage.visit(browser, gateway.url, "topics?filter=orders/%23");
  const { page } = opened;
  let sockets = 0;
  page.on("websocket", () => (sockets += 1));
  const first = Date.now() + 12_000;
  await signIn(page, token("ann", ADMIN, 11));
  await opened.waitForState("Connected");
  await page.locator(".chip:not(.pending)").getByText("orders/#").waitFor();
  // So short a token is asked for anew at once.
  const banner = page.getByRole("region", { name: "Renew the token" });
  await banner.getByText(/^Your token runs out in/).waitFor();
  await signIn(page, token("ann", ADMIN), "Renew");
  await publish({ before: 1 });
  await opened.line("before").waitFor();
  await banner.waitFor({ state: "detached" });
  // Beyond the end of the first token nothing has been closed.
  await expect.poll(() => Date.now(), { interval: 200 }).toBeGreaterThan(first + LEEWAY + GRACE + 1000);
  await publish({ after: 1 });
  await opened.line("after").waitFor();
  expect(await opened.line("before").count()).toBe(1);
  expect(await page.locator(".line.gap").count()).toBe(0);
  expect(sockets).toBe(1);
  await page.goto(`${gateway.url}/#/streams`);
  await opened.line("orders/#").waitFor();
});

it("the banner that asks for another token is accessible", async () => {
  const opened = await ConsolePage.visit(browser, gateway.url, "streams");
  await signIn(opened.page, token("ann", ADMIN, 90));
  await opened.page.getByText(/^Your token runs out in/).waitFor();
  await expectAccessible(opened.page);
});

it("a token that has run out asks for another one, and the room goes on", async () => {
  const opened = await ConsolePage.visit(browser, gateway.url, "streams");
  const { page } = opened;
  // With the leeway there are ten seconds to sign in with it.
  await signIn(page, token("ann", ADMIN, 5));
  await page.getByText(/^Your token is not taken any more/).waitFor();
  await signIn(page, token("ann", ADMIN), "Renew");
  await opened.line("orders/#").waitFor();
  await opened.waitForState("Connected");
});
