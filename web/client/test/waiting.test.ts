/** How long callers wait, and what the page tells a client. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Client, type ClientOptions } from "../src/index.js";
import { ScriptedGateway, answerLikeTheGateway, message } from "./scripted_socket.js";

let gateway: ScriptedGateway;
let client: Client;

function open(options: ClientOptions = {}): Client {
  client = new Client("http://gateway.test", { WebSocket: gateway.WebSocket, ...options });
  return client;
}

beforeEach(() => {
  vi.useFakeTimers();
  gateway = new ScriptedGateway();
});

afterEach(() => {
  client.close();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

describe("connect", () => {
  it("gives up after its timeout, says why, and the client goes on trying", async () => {
    gateway.reachable = false;
    open();
    const waiting = expect(client.connect()).rejects.toMatchObject({
      code: "timeout",
      reason: expect.stringMatching(/^no connection in time: .*1006/) as string,
    });
    await vi.advanceTimersByTimeAsync(30_000);
    await waiting;
    gateway.reachable = true;
    const connecting = client.connect({ timeout: Infinity });
    await vi.advanceTimersByTimeAsync(30_000);
    await connecting;
    expect(client.status.state).toBe("connected");
  });

  it("ends with its signal", async () => {
    gateway.reachable = false;
    const controller = new AbortController();
    const waiting = expect(open().connect({ signal: controller.signal })).rejects.toBe("enough");
    controller.abort("enough");
    await waiting;
    await expect(client.connect({ signal: controller.signal })).rejects.toBe("enough");
    await expect(client.connect({ timeout: 0 })).rejects.toBeInstanceOf(RangeError);
  });
});

describe("subscribe", () => {
  it("that was answered too late is taken back at the gateway", async () => {
    await open().connect();
    gateway.answer = () => null;
    const waiting = expect(client.subscribe("a")).rejects.toMatchObject({ code: "timeout" });
    await vi.advanceTimersByTimeAsync(10_000);
    await waiting;
    expect(gateway.last.sent.map(({ op, filter }) => [op, filter])).toEqual([["subscribe", "a"], ["unsubscribe", "a"]]);
  });

  it("gives up after its timeout, and is not asked for later", async () => {
    gateway.reachable = false;
    const waiting = expect(open().subscribe("a", { timeout: 5000 })).rejects.toMatchObject({ code: "timeout" });
    await vi.advanceTimersByTimeAsync(5000);
    await waiting;
    gateway.reachable = true;
    await vi.advanceTimersByTimeAsync(60_000);
    expect(client.status.state).toBe("connected");
    expect(gateway.last.commands("subscribe")).toEqual([]);
  });

  it("ends with its signal, before it is confirmed and after", async () => {
    await open().connect();
    const [before, after] = [new AbortController(), new AbortController()];
    gateway.answer = () => null;
    const waiting = expect(client.subscribe("a", { signal: before.signal })).rejects.toMatchObject({ name: "AbortError" });
    before.abort();
    await waiting;
    gateway.answer = answerLikeTheGateway;
    const subscription = await client.subscribe("a", { signal: after.signal });
    gateway.last.push(message("a", 1));
    after.abort();
    const heard: unknown[] = [];
    for await (const { data } of subscription) heard.push(data);
    expect(heard).toEqual([1]);
    expect(gateway.last.sent.map(({ op }) => op)).toEqual(["subscribe", "unsubscribe", "subscribe", "unsubscribe"]);
    await expect(client.subscribe("a", { signal: after.signal })).rejects.toMatchObject({ name: "AbortError" });
  });
});

describe("a page", () => {
  /** A page's `window` and `document`, as far as a client listens to them. */
  class Page {
    readonly window = new EventTarget();
    readonly document = Object.assign(new EventTarget(), { visibilityState: "visible", baseURI: "http://page.test/" });
    constructor() {
      vi.stubGlobal("document", this.document);
      vi.stubGlobal("addEventListener", this.window.addEventListener.bind(this.window));
    }
  }

  it("that is seen again, or online again, tries now instead of later", async () => {
    const page = new Page();
    vi.spyOn(Math, "random").mockReturnValue(0.999);
    await open({ backoff: { initial: 30_000 } }).connect();
    for (const [target, name] of [[page.document, "visibilitychange"], [page.window, "online"], [page.window, "pageshow"]] as const) {
      gateway.last.fail(1006);
      expect(client.status.retryAt).not.toBeNull();
      target.dispatchEvent(new Event(name));
      await vi.advanceTimersByTimeAsync(1);
      expect(client.status.state, name).toBe("connected");
    }
    vi.mocked(Math.random).mockRestore();
  });

  it("that is hidden changes nothing, and a drain's wait is kept", async () => {
    const page = new Page();
    vi.spyOn(Math, "random").mockReturnValue(0.999);
    await open({ backoff: { initial: 30_000 } }).connect();
    gateway.last.push({ op: "goaway", reason: "drain", retry_after: 5000 });
    gateway.last.fail(1001);
    page.window.dispatchEvent(new Event("online"));
    await vi.advanceTimersByTimeAsync(4000);
    expect(gateway.sockets).toHaveLength(1);
    page.document.visibilityState = "hidden";
    await vi.advanceTimersByTimeAsync(5000);
    page.document.dispatchEvent(new Event("visibilitychange"));
    await vi.advanceTimersByTimeAsync(1);
    expect(gateway.sockets).toHaveLength(1);
    vi.mocked(Math.random).mockRestore();
  });

  it("that goes offline has the connection looked at at once", async () => {
    const page = new Page();
    await open({ pongTimeout: 3000 }).connect();
    gateway.answer = () => null;
    gateway.reachable = false;
    page.window.dispatchEvent(new Event("offline"));
    expect(gateway.last.commands("ping")).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(3001);
    expect(client.status.state).not.toBe("connected");
  });

  it("is listened to no more after close", async () => {
    const page = new Page();
    await open().connect();
    client.close();
    page.window.dispatchEvent(new Event("offline"));
    expect(gateway.last.commands("ping")).toEqual([]);
  });
});
