/** More messages than anybody can read must not freeze the page. */
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { ConsolePage, launchBrowser } from "./browser.js";
import { PATIENT } from "./console_fixture.js";
import { GatewayProcess } from "./gateway_process.js";

const BATCH = 1000;
const BATCHES = 3;
// Five times what a reader would notice: a page that draws all it gets takes longer, a busy machine does not.
const LONGEST_FRAME_MILLISECONDS = 5000;

let gateway: GatewayProcess;
let browser: Browser;

beforeAll(async () => {
  gateway = await GatewayProcess.start(PATIENT);
  browser = await launchBrowser();
});

afterAll(async () => {
  await browser?.close();
  await gateway?.stop();
});

it("bursts of 1,000 messages leave the page responsive and its list bounded", async () => {
  const opened = await ConsolePage.open(browser, gateway.url);
  await opened.subscribe("burst/#");
  await opened.page.evaluate(watchFrames);
  for (let batch = 0; batch < BATCHES; batch += 1) {
    const first = batch * BATCH;
    await gateway.publishAll(
      Array.from({ length: BATCH }, (_, index) => ({ topic: `burst/${index % 10}`, data: { number: first + index } })),
    );
  }
  await opened.page.locator("#total").getByText((BATCH * BATCHES).toLocaleString("en-US"), { exact: true }).waitFor();
  await opened.line(`"number":${BATCH * BATCHES - 1}`).waitFor();

  // Only what is in sight is in the page, of a list that is bounded; what it leaves out is said.
  expect(await opened.line().count()).toBeLessThan(80);
  expect(Number(await opened.page.getByRole("grid").getAttribute("aria-rowcount"))).toBeLessThanOrEqual(2001);
  await opened.page.getByText(/^sampled: [\d,]+ not in the list$/).waitFor();
  const longest = await opened.page.evaluate(() => (globalThis as unknown as { longestFrame: number }).longestFrame);
  console.log(`longest frame during ${BATCH * BATCHES} messages: ${Math.round(longest)} ms`);
  expect(longest).toBeLessThan(LONGEST_FRAME_MILLISECONDS);
  expect(opened.complaints).toEqual([]);
});

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
