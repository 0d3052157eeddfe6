/** What a day brings: floods, ten thousand connections, hours, restarts, tabs that sleep. */
import { once } from "node:events";
import { type Socket, connect } from "node:net";
import { Client } from "@fanout-gateway/client";
import type { Browser, Page } from "playwright-core";
import { afterEach, beforeAll, afterAll, expect, it } from "vitest";
import { ConsolePage, launchBrowser } from "./browser.js";
import { PATIENT, fill, killSome, startGateway } from "./console_fixture.js";
import type { GatewayProcess } from "./gateway_process.js";

const RATE = 1000;
/** For how long, in seconds; longer by hand: CONSOLE_SOAK=3600. */
const SOAK = Number(process.env["CONSOLE_SOAK"] ?? 15);
const MANY = Number(process.env["CONSOLE_CONNECTIONS"] ?? 10_000);
/** How many dead letters are sent back; more by hand: CONSOLE_LETTERS=100000. */
const LETTERS = Number(process.env["CONSOLE_LETTERS"] ?? 3000);
const REDRIVE_MILLISECONDS = 60_000 + LETTERS * 5;
/** What others publish goes on arriving, on a busy machine too; work in one piece would hold it up for as long as it takes. */
const LONGEST_TRIP_MILLISECONDS = 5000;
// Five times what a reader would notice: a page that draws all it gets takes longer, a busy machine does not.
const LONGEST_FRAME_MILLISECONDS = 5000;
/** How often the heap is looked at in the first half, and in each room of the second. */
const LOOKS = 6;
/** More than the lists and the plots of the page come to between two looks. */
const GROWTH_BYTES = 8 * 2 ** 20;

let browser: Browser;
let gateway: GatewayProcess;

beforeAll(async () => {
  browser = await launchBrowser();
});

afterAll(async () => {
  await browser?.close();
});

afterEach(async () => {
  // Or its pages go on to look for their gateway beside the next test.
  for (const context of browser.contexts()) await context.close();
  await gateway?.stop();
});

it(
  `1,000 messages a second: responsive, bounded, and it says that it samples`,
  async () => {
    gateway = await startGateway(PATIENT);
    const opened = await ConsolePage.open(browser, gateway.url, "topics?filter=flood/%23");
    const { page } = opened;
    await page.locator(".chip:not(.pending)").waitFor();
    const publisher = new Client(gateway.url);
    await publisher.connect();
    const flood = publishSteadily(publisher);
    await page.getByText(/^sampled: [\d,]+ not in the list$/).waitFor();
    await page.evaluate(watchFrames);
    const heap = [await heapAfterCollection(page)];
    const stay = async (milliseconds: number): Promise<void> => {
      for (let look = 0; look < LOOKS; look += 1) {
        await page.waitForTimeout(milliseconds / LOOKS);
        heap.push(await heapAfterCollection(page));
      }
    };
    await stay(SOAK * 500);
    // Rooms are left and come back to meanwhile.
    for (const room of ["overview", "connections", "topics"]) {
      await page.evaluate((name) => (location.hash = `#/${name}`), room);
      await stay(SOAK * 150);
    }
    const before = heap[0] ?? 0;
    const after = heap.at(-1) ?? 0;
    const longest = await page.evaluate(() => (globalThis as unknown as { longestFrame: number }).longestFrame);
    const published = flood.stop();
    console.log(
      `longest frame ${Math.round(longest)} ms; ${published} messages in ${SOAK} s; heap ${heap.map(mebibytes).join(", ")}`,
    );
    expect(longest).toBeLessThan(LONGEST_FRAME_MILLISECONDS);
    expect(after - before).toBeLessThan(GROWTH_BYTES);
    await page.getByRole("button", { name: "Pause" }).click();
    await page.getByText(/^paused, [\d,]+ arrived since$/).waitFor();
    // All that was published is counted, shown or not.
    await expect
      .poll(async () => Number((await page.locator("#total").textContent())?.replaceAll(",", "")))
      .toBe(published);
    publisher.close();
    expect(opened.complaints).toEqual([]);
  },
  SOAK * 4000 + 90_000,
);

it(`${said(MANY)} connections are listed, sorted and searched`, async () => {
  gateway = await startGateway(PATIENT);
  const sockets = await openMany(gateway, MANY);
  try {
    const opened = await ConsolePage.open(browser, gateway.url, "connections");
    const { page } = opened;
    await page.evaluate(watchFrames);
    await page.getByText(/asked every 10 s/).waitFor({ timeout: 60_000 });
    const rows = page.getByRole("grid");
    // The page's own connection too; of more than are listed it says so.
    await expect
      .poll(async () => Number(await rows.getAttribute("aria-rowcount")), { timeout: 60_000 })
      .toBeGreaterThan(Math.min(MANY, 10_000));
    expect(await opened.line().count()).toBeLessThan(80);
    await page.getByRole("columnheader", { name: "Address" }).getByRole("button").click();
    await page.getByRole("row").nth(1).focus();
    await page.keyboard.press("End");
    await page.locator(`[aria-rowindex="${await rows.getAttribute("aria-rowcount")}"]`).waitFor();
    await page.getByLabel("Address begins with").fill("127.0.0.1:4");
    await page
      .getByRole("status")
      .filter({ hasText: / of [\d,]+$/ })
      .waitFor();
    const longest = await page.evaluate(() => (globalThis as unknown as { longestFrame: number }).longestFrame);
    console.log(`longest frame with ${MANY} connections listed: ${Math.round(longest)} ms`);
    expect(longest).toBeLessThan(LONGEST_FRAME_MILLISECONDS);
    expect(opened.complaints).toEqual([]);
  } finally {
    for (const socket of sockets) socket.destroy();
  }
}, 180_000);

it(
  `sending back ${said(LETTERS)} dead letters says how far it is, others are served meanwhile; and so does a purge`,
  async () => {
    gateway = await startGateway();
    for (let missing = LETTERS; missing > 0; missing -= 600) {
      await fill(gateway, 1000);
      await killSome(gateway, Math.min(600, missing));
    }
    const { page } = await ConsolePage.open(browser, gateway.url, "dead-letters");
    // What the progress said; a fast gateway leaves no time to read it.
    await page.evaluate(() => {
      const said: string[] = [];
      Object.assign(globalThis, { said });
      new MutationObserver(() => {
        const text = document.querySelector("progress")?.parentElement?.textContent;
        if (text !== undefined && text !== null) said.push(text);
      }).observe(document.body, { childList: true, subtree: true, characterData: true });
    });
    await page.evaluate(watchFrames);
    await page.getByRole("button", { name: "Redrive all …" }).click();
    await page.getByText(`${said(LETTERS)} letters would be sent back.`).waitFor({ timeout: REDRIVE_MILLISECONDS });
    const live = await beginRoundTrips(gateway);
    const began = Date.now();
    await page.getByRole("dialog").getByRole("button", { name: "Redrive" }).click();
    await page.getByText(`${said(LETTERS)} letters sent back.`).waitFor({ timeout: REDRIVE_MILLISECONDS });
    const seconds = (Date.now() - began) / 1000;
    const trips = await live.end();
    const words = await page.evaluate(() => (globalThis as unknown as { said: string[] }).said);
    const longest = await page.evaluate(() => (globalThis as unknown as { longestFrame: number }).longestFrame);
    console.log(
      `${said(LETTERS)} letters sent back in ${seconds.toFixed(1)} s, told in ${words.length} steps; longest frame ` +
        `${Math.round(longest)} ms; ${trips.length} live round trips beside it, the longest ${Math.round(Math.max(...trips))} ms`,
    );
    expect(words.some((text) => new RegExp(`[\\d,]+ of ${said(LETTERS)}$`).test(text))).toBe(true);
    expect(longest).toBeLessThan(LONGEST_FRAME_MILLISECONDS);
    expect(Math.max(...trips)).toBeLessThan(LONGEST_TRIP_MILLISECONDS);
    await page.getByText("No dead letters: everything was handled.").waitFor();
    await page.keyboard.press("Escape");

    const kept = said(1000 * Math.ceil(LETTERS / 600));
    await page.evaluate(() => (location.hash = "#/streams/orders"));
    await page.getByRole("button", { name: "Purge …" }).click();
    await page.getByRole("dialog").getByLabel("Topic filter").fill("#");
    await page.getByRole("button", { name: "See what it would remove" }).click();
    await page.getByText(new RegExp(`^It would remove ${kept} messages, `)).waitFor({ timeout: REDRIVE_MILLISECONDS });
    await page.getByRole("button", { name: "Purge for good" }).click();
    await page.getByText(`${kept} messages purged.`).waitFor({ timeout: REDRIVE_MILLISECONDS });
    const all = await page.evaluate(() => (globalThis as unknown as { said: string[] }).said);
    expect(all.slice(words.length).some((text) => text.endsWith(` of ${kept}`))).toBe(true);
  },
  60_000 + 2 * REDRIVE_MILLISECONDS,
);

it("a kill and a restart: every room goes on, and the plots too", async () => {
  gateway = await startGateway();
  const opened = await ConsolePage.open(browser, gateway.url, "overview");
  const { page } = opened;
  const connections = page.locator(".figure", { hasText: "Connections" }).locator(".figure-value");
  await expect.poll(() => connections.textContent()).toBe("1");
  await gateway.kill();
  await page.getByText(/^No new figures/).waitFor();
  await opened.waitForState("Reconnecting");
  await gateway.run();
  await page.getByText(/^No new figures/).waitFor({ state: "detached" });
  await opened.waitForState("Connected");
  await expect.poll(() => connections.textContent()).toBe("1");
});

it("a tab that sleeps asks for nothing, and is current as soon as it is seen", async () => {
  gateway = await startGateway();
  const awake = await ConsolePage.open(browser, gateway.url, "nodes");
  // And one that falls asleep while it waits for what was before.
  const early = await ConsolePage.open(browser, gateway.url, "nodes");
  let asking: () => void = () => undefined;
  let goOn: () => void = () => undefined;
  const asked = new Promise<void>((resolve) => (asking = resolve));
  const asleep = new Promise<void>((resolve) => (goOn = resolve));
  await early.page.route(/\/v1\/statistics\?/, async (route) => {
    asking();
    await asleep;
    await route.continue();
  });
  await early.page.reload();
  await asked;
  for (const { page } of [awake, early]) {
    await page.getByText("ready", { exact: true }).waitFor();
    await page.evaluate(countRequests);
    await page.evaluate(setHidden, true);
  }
  goOn();
  // Awake it asks every two seconds.
  await awake.page.waitForTimeout(5000);
  for (const { page, complaints } of [awake, early]) {
    expect(await page.evaluate(requestsWhileHidden)).toEqual([]);
    let requests = 0;
    page.on("request", () => (requests += 1));
    await page.evaluate(setHidden, false);
    await expect.poll(() => requests).toBeGreaterThanOrEqual(2); // the nodes, and the statistics of the time asleep
    expect(complaints).toEqual([]);
  }
});

/** In the page: keeps what is asked for while nobody sees it. */
function countRequests(): void {
  const ask = globalThis.fetch;
  const asked: string[] = [];
  Object.assign(globalThis, { asked });
  globalThis.fetch = (...request) => {
    if (document.hidden) asked.push(String(request[0]));
    return ask(...request);
  };
}

function requestsWhileHidden(): string[] {
  return (globalThis as unknown as { asked: string[] }).asked;
}

/** In the page: as the browser does when another tab is in front. */
function setHidden(hidden: boolean): void {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  Object.defineProperty(document, "visibilityState", {
    configurable: true,
    get: () => (hidden ? "hidden" : "visible"),
  });
  document.dispatchEvent(new Event("visibilitychange"));
}

function publishSteadily(client: Client): { stop: () => number } {
  const began = Date.now();
  let published = 0;
  const timer = setInterval(() => {
    const due = Math.floor(((Date.now() - began) * RATE) / 1000);
    // Not answered, or the round trips would set the pace; a pause of this process is not made up for.
    for (const most = published + 200; published < Math.min(due, most); published += 1) {
      void client.publish(
        `flood/${published % 50}/${published % 7}`,
        { number: published, text: "some words of a message" },
        { ack: false },
      );
    }
  }, 20);
  return {
    stop: () => {
      clearInterval(timer);
      return published;
    },
  };
}

/** Publishes and hears, one after the other, until it is told to end: how long each took, in milliseconds. */
async function beginRoundTrips(target: GatewayProcess): Promise<{ end: () => Promise<readonly number[]> }> {
  const client = new Client(target.url);
  const heard = (await client.subscribe("live/trip"))[Symbol.asyncIterator]();
  const trips: number[] = [];
  let over = false;
  const going = (async () => {
    while (!over || trips.length === 0) {
      const began = performance.now();
      await client.publish("live/trip", trips.length, { ack: false });
      await heard.next();
      trips.push(performance.now() - began);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    client.close();
  })();
  return {
    end: async () => {
      over = true;
      await going;
      return trips;
    },
  };
}

function said(count: number): string {
  return count.toLocaleString("en-US");
}

async function heapAfterCollection(page: Page): Promise<number> {
  const session = await page.context().newCDPSession(page);
  await session.send("HeapProfiler.collectGarbage");
  const { usedSize } = await session.send("Runtime.getHeapUsage");
  await session.detach();
  return usedSize;
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

/** Idle WebSockets, opened without a library: only their number matters. */
async function openMany(target: GatewayProcess, count: number): Promise<Socket[]> {
  const sockets: Socket[] = [];
  const open = async (): Promise<void> => {
    const socket = connect(target.port, "127.0.0.1");
    socket.on("error", () => undefined);
    socket.write(
      `GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1:${target.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    );
    const [answer] = (await once(socket, "data")) as [Buffer];
    if (!answer.toString("latin1").startsWith("HTTP/1.1 101")) throw new Error(answer.toString("latin1"));
    sockets.push(socket);
  };
  while (sockets.length < count) await Promise.all(Array.from({ length: Math.min(100, count - sockets.length) }, open));
  return sockets;
}

/** In the page: remembers the longest time between two frames. */
function watchFrames(): void {
  const watched = globalThis as unknown as { longestFrame: number };
  watched.longestFrame = 0;
  let last = performance.now();
  const frame = (now: number): void => {
    watched.longestFrame = Math.max(watched.longestFrame, now - last);
    last = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}
