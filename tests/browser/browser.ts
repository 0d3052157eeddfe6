/** The machine's own Chromium, or Firefox, and a console page in it. */
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { type Browser, type BrowserContextOptions, type Page, chromium, firefox } from "playwright-core";

/**
 * How long tests wait for what is promised, in milliseconds: a page that lost its gateway draws its waits by lot, up to
 * the client's longest one, 30 s.
 */
export const PATIENCE = 45_000;

/** A browser's start is no promise of ours: on a busy machine it takes what it takes, within a hook's time. */
const LAUNCH_MILLISECONDS = 100_000;

const CHROMIUM = ["chromium", "chromium-browser", "google-chrome"];
const FIREFOX = ["firefox-esr", "firefox"];

/** Firefox with BROWSER=firefox, Chromium otherwise. Either may be named: CHROMIUM=/path, FIREFOX=/path. */
export async function launchBrowser(): Promise<Browser> {
  if (process.env["BROWSER"] === "firefox") {
    // The channel has it driven by WebDriver BiDi, which a Firefox that isn't Playwright's own understands.
    const executablePath = find("FIREFOX", FIREFOX);
    return await firefox.launch({ channel: "moz-firefox", executablePath, timeout: LAUNCH_MILLISECONDS });
  }
  return await chromium.launch({
    executablePath: find("CHROMIUM", CHROMIUM),
    timeout: LAUNCH_MILLISECONDS,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

function find(variable: string, names: readonly string[]): string {
  const named = process.env[variable];
  if (named !== undefined) return named;
  for (const directory of (process.env["PATH"] ?? "").split(delimiter)) {
    for (const name of names) {
      const path = join(directory, name);
      if (isExecutable(path)) return path;
    }
  }
  throw new Error(`no browser on this machine; run: apt-get install -y ${names[0]} (or set ${variable} to its path)`);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The console at work: what a person sees and does, and what the browser complained about meanwhile. */
export class ConsolePage {
  readonly complaints: string[] = [];

  private constructor(readonly page: Page) {
    page.setDefaultTimeout(PATIENCE);
    page.on("pageerror", (error) => this.complaints.push(error.message));
    page.on("console", (line) => {
      if (line.type() === "error") this.complaints.push(line.text());
    });
  }

  /** Opens a room of the page and waits until it is connected. */
  static async open(
    browser: Browser,
    url: string,
    room = "topics",
    options: BrowserContextOptions = {},
  ): Promise<ConsolePage> {
    const opened = await ConsolePage.visit(browser, url, room, options);
    await opened.waitForState("Connected");
    return opened;
  }

  /** Opens a room of the page. */
  static async visit(
    browser: Browser,
    url: string,
    room = "topics",
    options: BrowserContextOptions = {},
  ): Promise<ConsolePage> {
    const opened = new ConsolePage(await browser.newPage({ viewport: { width: 1360, height: 850 }, ...options }));
    await opened.page.goto(`${url}/#/${room}`);
    return opened;
  }

  async waitForState(state: string): Promise<void> {
    await this.page.locator(".badge [role=status]").getByText(state, { exact: true }).waitFor();
  }

  /** Types a filter and waits until the gateway has confirmed it. */
  async subscribe(filter: string): Promise<void> {
    await this.page.getByLabel("Topic filter").fill(filter);
    await this.page.getByRole("button", { name: "Subscribe", exact: true }).click();
    await this.page.locator(".chip:not(.pending)").getByText(filter, { exact: true }).waitFor();
  }

  /** Fills in the publish form and waits for the gateway's answer. */
  async publish(topic: string, body: string, contentType = "application/json"): Promise<void> {
    const form = this.page.getByRole("region", { name: "Publish" });
    await form.getByLabel("Topic", { exact: true }).fill(topic);
    await form.getByLabel("Content type").fill(contentType);
    await form.getByLabel("Body", { exact: true }).fill(body);
    await form.getByRole("button", { name: "Publish", exact: true }).click();
    await form.getByText(/^Published/).waitFor();
  }

  /** The lines of the room's table that hold `text`; all of those in sight without one. */
  line(text: string | RegExp = "") {
    return this.page.locator(".lines [role=row]", { hasText: text });
  }

  get inspector() {
    return this.page.getByRole("region", { name: "Inspector" });
  }
}
