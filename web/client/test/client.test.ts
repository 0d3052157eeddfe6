import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Client, type ClientOptions, type Gap, type GatewayError, type Message } from "../src/index.js";
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
  vi.useRealTimers();
});

describe("subscriptions", () => {
  it("get each message once, whichever of them match", async () => {
    await open().connect();
    const wide = await client.subscribe("orders/#");
    const narrow: Message[] = [];
    await client.subscribe("orders/eu", { onMessage: (received) => narrow.push(received) });
    gateway.last.push(message("orders/eu", 1));
    gateway.last.push(message("orders/us", 2));
    gateway.last.push(message("other", 3));
    await wide.unsubscribe();

    const received: unknown[] = [];
    for await (const { data } of wide) received.push(data);
    expect(received).toEqual([1, 2]);
    expect(narrow.map(({ data }) => data)).toEqual([1]);
  });

  it("of one filter share the wire and end with the last", async () => {
    await open().connect();
    const first = await client.subscribe("a");
    const second = await client.subscribe("a");
    expect(gateway.last.commands("subscribe")).toHaveLength(1);
    await first.unsubscribe();
    await first.unsubscribe();
    expect(gateway.last.commands("unsubscribe")).toHaveLength(0);
    await second.unsubscribe();
    expect(gateway.last.commands("unsubscribe")).toHaveLength(1);
  });

  it("of one filter take the options of the latest", async () => {
    await open().connect();
    await client.subscribe("a");
    await client.subscribe("a", { overflow: "latest" });
    expect(gateway.last.commands("subscribe").map((command) => command["overflow"])).toEqual([undefined, "latest"]);
  });

  it("hand a frame with a filter to that filter alone", async () => {
    await open().connect();
    const heard: string[] = [];
    await client.subscribe("#", { onMessage: () => heard.push("#") });
    await client.subscribe("a", { onMessage: () => heard.push("a") });
    gateway.last.push(message("a", 1, { filter: "a" }));
    expect(heard).toEqual(["a"]);
  });

  it("that the gateway refuses reject, and are not asked for again", async () => {
    await open().connect();
    gateway.answer = (command) =>
      command["op"] === "subscribe" ? { op: "error", code: "forbidden", reason: "no grant" } : answerLikeTheGateway(command);
    await expect(client.subscribe("secret")).rejects.toMatchObject({ code: "forbidden", reason: "no grant" });
    gateway.last.fail(1006);
    await vi.advanceTimersByTimeAsync(300);
    expect(gateway.sockets).toHaveLength(2);
    expect(gateway.last.commands("subscribe")).toEqual([]);
  });

  it("end where the gateway ends them, and are not asked for again", async () => {
    await open().connect();
    const ends: unknown[] = [];
    const subscription = await client.subscribe("rooms/5", { onEnd: (error) => ends.push(error) });
    const waiting = (await client.subscribe("rooms/5"))[Symbol.asyncIterator]().next();
    await client.subscribe("rooms/6");
    gateway.last.push({ op: "unsubscribed", filter: "rooms/5" });
    gateway.last.push({ op: "unsubscribed", filter: "begun/by/the/application" });
    await expect(waiting).rejects.toMatchObject({ code: "forbidden" });
    expect(ends).toMatchObject([{ code: "forbidden" }]);
    await subscription.unsubscribe();
    expect(gateway.last.commands("unsubscribe")).toEqual([]);
    gateway.last.fail(1006);
    await vi.advanceTimersByTimeAsync(300);
    expect(gateway.last.commands("subscribe").map((command) => command["filter"])).toEqual(["rooms/6"]);
    await client.subscribe("rooms/5");
    expect(gateway.last.commands("subscribe").map((command) => command["filter"])).toEqual(["rooms/6", "rooms/5"]);
  });

  it("tell the gateway's gaps to the filter they name, or to all", async () => {
    await open().connect();
    const gaps: [string, Gap][] = [];
    await client.subscribe("a", { onGap: (gap) => gaps.push(["a", gap]) });
    await client.subscribe("b", { onGap: (gap) => gaps.push(["b", gap]) });
    gateway.last.push({ op: "gap", reason: "overflow", filter: "a", dropped: 7 });
    gateway.last.push({ op: "gap", reason: "bus", dropped: null });
    expect(gaps).toEqual([
      ["a", { reason: "overflow", filter: "a", dropped: 7 }],
      ["a", { reason: "bus", dropped: null }],
      ["b", { reason: "bus", dropped: null }],
    ]);
  });

  it("survive a listener that throws, or rejects, and the console tells of it", async () => {
    await open().connect();
    const told = vi.spyOn(console, "error").mockImplementation(() => undefined);
    const heard: unknown[] = [];
    const own = new Error("the program's own");
    await client.subscribe("a", { onMessage: () => { throw own; } });
    await client.subscribe("a/#", { onMessage: async () => Promise.reject(own) });
    await client.subscribe("+", { onMessage: ({ data }) => heard.push(data) });
    client.on("message", () => { throw own; });
    gateway.last.push(message("a", 1));
    gateway.last.push(message("a", 2));
    await vi.advanceTimersByTimeAsync(0);
    const errors = told.mock.calls.map((call) => call.at(-1) as unknown);
    told.mockRestore();
    expect(heard).toEqual([1, 2]);
    expect(errors).toEqual([own, own, own, own, own, own]);
    expect(client.status.state).toBe("connected");
  });
});

describe("publishing", () => {
  it("deletes without data, and tells of a deletion", async () => {
    await open().connect();
    const subscription = await client.subscribe("t");
    expect(await client.delete("t", { id: "mine", key: "k" })).toEqual({ id: "mine" });
    expect(gateway.last.commands("publish")).toEqual([
      { op: "publish", topic: "t", deleted: true, id: "mine", key: "k", ref: expect.anything() },
    ]);
    gateway.last.push({ op: "message", topic: "t", id: "mine", time: 1, deleted: true });
    await subscription.unsubscribe();
    for await (const message of subscription) {
      expect(message).toEqual({ topic: "t", id: "mine", time: 1, data: undefined, deleted: true });
    }
    expect.assertions(3);
  });

  it("sends JSON as it is and bytes as base64, and returns the receipt", async () => {
    await open().connect();
    expect(await client.publish("t", { total: 42 }, { id: "mine" })).toEqual({ id: "mine" });
    await client.publish("t", new Uint8Array([0, 255]), { contentType: "image/png", delay: 5000 });
    expect(gateway.last.commands("publish")).toMatchObject([
      { topic: "t", data: { total: 42 }, id: "mine" },
      { topic: "t", data_base64: "AP8=", content_type: "image/png", delay: 5000 },
    ]);
  });

  it("without ack waits for nothing, and tells a refusal as an event", async () => {
    await open().connect();
    const errors: GatewayError[] = [];
    client.on("error", (error) => errors.push(error));
    expect(await client.publish("t", 1, { ack: false })).toBeNull();
    expect(gateway.last.commands("publish")[0]).not.toHaveProperty("ref");
    gateway.last.push({ op: "error", ref: null, code: "bad_topic", reason: "why" });
    expect(errors).toMatchObject([{ code: "bad_topic", reason: "why" }]);
  });

  it("fails with timeout where no reply comes, and with unavailable where the connection is lost", async () => {
    await open({ commandTimeout: 5000 }).connect();
    gateway.answer = () => null;
    const late = expect(client.publish("t", 1)).rejects.toMatchObject({ code: "timeout", retryable: true });
    await vi.advanceTimersByTimeAsync(5000);
    await late;
    const lost = expect(client.publish("t", 1)).rejects.toMatchObject({ code: "unavailable" });
    gateway.last.fail(1006);
    await lost;
    await expect(client.publish("t", 1)).rejects.toMatchObject({ code: "unavailable", reason: "not connected" });
  });

  it("refuses what has no JSON form", async () => {
    await open().connect();
    await expect(client.publish("t", undefined)).rejects.toBeInstanceOf(TypeError);
  });
});

describe("a lost connection", () => {
  it("is made again, with every filter, and tells each the gap", async () => {
    await open().connect();
    const gaps: Gap[] = [];
    client.on("gap", (gap) => gaps.push(gap));
    const heard: unknown[] = [];
    await client.subscribe("a", { onMessage: ({ data }) => heard.push(data) });
    await client.subscribe("b");
    gateway.last.fail(1006);
    expect(client.status.state).toBe("reconnecting");
    expect(client.status.retryAt).toBeTypeOf("number");
    await vi.advanceTimersByTimeAsync(300);

    expect(client.status.state).toBe("connected");
    expect(gateway.last.commands("subscribe").map((command) => command["filter"])).toEqual(["a", "b"]);
    expect(gaps).toEqual([
      { reason: "reconnect", filter: "a", dropped: null },
      { reason: "reconnect", filter: "b", dropped: null },
    ]);
    gateway.last.push(message("a", 1));
    expect(heard).toEqual([1]);
  });

  it("does not lose a subscribe that waits for it", async () => {
    gateway.reachable = false;
    open();
    const subscribing = client.subscribe("a");
    await vi.advanceTimersByTimeAsync(2000);
    expect(client.status.state).toBe("connecting");
    gateway.reachable = true;
    await vi.advanceTimersByTimeAsync(60_000);
    expect((await subscribing).filter).toBe("a");
  });

  it("is tried again at once where a refused one has no close event", async () => {
    gateway.reachable = false;
    gateway.closesAfterError = false;
    void open().connect().catch(() => undefined);
    await vi.advanceTimersByTimeAsync(5000);
    expect(gateway.sockets.length).toBeGreaterThan(2);
  });

  it("waits longer each time, and begins anew after a stable connection", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0.999);
    await open({ backoff: { initial: 1000, stableAfter: 10_000 } }).connect();
    gateway.reachable = false;
    gateway.last.fail(1006);
    await vi.advanceTimersByTimeAsync(3500); // waits of 1 s and 2 s
    expect(gateway.sockets).toHaveLength(3);
    gateway.reachable = true;
    await vi.advanceTimersByTimeAsync(4000);
    expect(client.status.state).toBe("connected");
    gateway.last.fail(1006); // at once: not stable
    expect(client.status.failures).toBe(4);
    await vi.advanceTimersByTimeAsync(8000);
    await vi.advanceTimersByTimeAsync(10_000);
    gateway.last.fail(1006);
    expect(client.status.failures).toBe(1);
    vi.mocked(Math.random).mockRestore();
  });

  it("is noticed where nothing comes any more", async () => {
    await open({ pingInterval: 25_000, pongTimeout: 10_000 }).connect();
    await vi.advanceTimersByTimeAsync(25_000);
    expect(gateway.last.commands("ping")).toHaveLength(1);
    gateway.answer = () => null;
    await vi.advanceTimersByTimeAsync(45_000);
    expect(client.status.state).not.toBe("idle");
    expect(gateway.sockets.length).toBeGreaterThan(1);
  });

  it("stays away as long as the gateway's goaway says", async () => {
    await open().connect();
    gateway.last.push({ op: "goaway", reason: "drain", retry_after: 5000 });
    gateway.last.fail(1001);
    await vi.advanceTimersByTimeAsync(4900);
    expect(gateway.sockets).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(3000);
    expect(client.status.state).toBe("connected");
  });

  it("can be tried again at once", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0.999);
    await open({ backoff: { initial: 30_000 } }).connect();
    gateway.last.fail(1006);
    client.retryNow();
    await vi.advanceTimersByTimeAsync(1);
    expect(client.status.state).toBe("connected");
    vi.mocked(Math.random).mockRestore();
  });

  it("can be tried again, or closed, by who is told of its loss", async () => {
    const token = vi.fn(async () => "t");
    await open({ token, backoff: { initial: 1000 } }).connect();
    const stop = client.on("state", ({ retryAt }) => { if (retryAt !== null) client.retryNow(); });
    gateway.last.fail(1006);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(client.status.state).toBe("connected");
    expect(gateway.sockets).toHaveLength(2);
    stop();
    const states: string[] = [];
    client.on("state", ({ state }) => {
      states.push(state);
      if (state === "reconnecting") client.close();
    });
    gateway.last.fail(1006);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(states).toEqual(["reconnecting", "closed"]);
    expect(token).toHaveBeenCalledTimes(2);
  });

  it("retries a filter that the gateway can't take just now", async () => {
    await open().connect();
    await client.subscribe("a");
    gateway.answer = (command) =>
      command["op"] === "subscribe" ? { op: "error", code: "unavailable", reason: "bus" } : answerLikeTheGateway(command);
    gateway.last.fail(1012);
    await vi.advanceTimersByTimeAsync(300);
    const gaps: Gap[] = [];
    client.on("gap", (gap) => gaps.push(gap));
    gateway.answer = answerLikeTheGateway;
    await vi.advanceTimersByTimeAsync(4000);
    expect(gaps).toMatchObject([{ reason: "reconnect", filter: "a" }]);
  });

  it.each([4400, 4401, 4403, 4413])("for good with %d ends the subscriptions", async (code) => {
    await open({ token: "t" }).connect();
    const subscription = await client.subscribe("a");
    gateway.last.push({ op: "error", ref: null, code: "forbidden", reason: "blocked", fatal: true });
    gateway.last.fail(code);
    expect(client.status.state).toBe("closed");
    await expect(subscription[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: "forbidden" });
    await expect(client.connect()).rejects.toMatchObject({ code: "closed" });
  });
});

describe("a token", () => {
  it("is sent first, and a wrong one closes the client", async () => {
    await open({ token: "right" }).connect();
    expect(gateway.last.sent[0]).toMatchObject({ op: "auth", token: "right" });
    client.close();

    gateway.answer = () => ({ op: "error", code: "unauthenticated", reason: "wrong" });
    await expect(open({ token: "wrong" }).connect()).rejects.toMatchObject({ code: "unauthenticated" });
    expect(client.status.state).toBe("closed");
  });

  it("from a function is fetched for each connection and renewed before it expires", async () => {
    let made = 0;
    gateway.answer = (command) =>
      command["op"] === "auth"
        ? { op: "authenticated", subject: "tester", expires: Date.now() + 120_000 }
        : answerLikeTheGateway(command);
    await open({ token: async () => `token-${++made}` }).connect();
    await vi.advanceTimersByTimeAsync(0.7 * 120_000 - 1);
    expect(gateway.last.commands("auth").map((command) => command["token"])).toEqual(["token-1"]);
    await vi.advanceTimersByTimeAsync(0.15 * 120_000 + 2);
    expect(gateway.last.commands("auth").map((command) => command["token"])).toEqual(["token-1", "token-2"]);
    gateway.last.fail(4401);
    await vi.advanceTimersByTimeAsync(300);
    expect(gateway.last.commands("auth")).toMatchObject([{ token: "token-3" }]);
  });
});

describe("a renewal that is asked for", () => {
  const tokens = (): unknown[] => gateway.last.commands("auth").map((command) => command["token"]);

  it("tells the gateway a fresh token at once, and stays connected", async () => {
    let made = 0;
    gateway.answer = (command) =>
      command["op"] === "auth"
        ? { op: "authenticated", subject: "tester", expires: Date.now() + 100_000 }
        : answerLikeTheGateway(command);
    await open({ token: async () => `token-${++made}` }).connect();
    await vi.advanceTimersByTimeAsync(60_000);
    await client.renew();
    expect(tokens()).toEqual(["token-1", "token-2"]);
    // The next one is due by the new one's end.
    await vi.advanceTimersByTimeAsync(60_000);
    expect(tokens()).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(25_001);
    expect(tokens()).toEqual(["token-1", "token-2", "token-3"]);
    expect(gateway.sockets).toHaveLength(1);
  });

  it("says why it is refused, to the caller alone", async () => {
    const errors: GatewayError[] = [];
    await open({ token: async () => "any" }).connect();
    client.on("error", (error) => errors.push(error));
    gateway.answer = () => ({ op: "error", code: "forbidden", reason: "another subject" });
    await expect(client.renew()).rejects.toMatchObject({ code: "forbidden", reason: "another subject" });
    expect(client.status.state).toBe("connected");
    expect(errors).toEqual([]);
  });

  it("tries to reconnect where the connection is away", async () => {
    let made = 0;
    await open({ token: async () => `token-${++made}` }).connect();
    gateway.last.fail(1006);
    expect(client.status.state).toBe("reconnecting");
    await client.renew();
    await vi.advanceTimersByTimeAsync(1);
    expect(tokens()).toEqual(["token-2"]);
    expect(client.status.state).toBe("connected");
  });

  it("needs a token, and a client that is not closed", async () => {
    await expect(open().renew()).rejects.toThrow(TypeError);
    open({ token: "fixed" }).close();
    await expect(client.renew()).rejects.toMatchObject({ code: "closed" });
  });
});

describe("a token function", () => {
  const LIFE = 100_000;

  beforeEach(() => {
    gateway.answer = (command) =>
      command["op"] === "auth"
        ? { op: "authenticated", subject: "tester", expires: Date.now() + LIFE }
        : answerLikeTheGateway(command);
  });

  it.each([undefined, null, new Uint8Array(2), 7])("that returns %s ends the client", async (wrong) => {
    const errors: GatewayError[] = [];
    open({ token: async () => wrong as unknown as string }).on("error", (error) => errors.push(error));
    await expect(client.connect()).rejects.toThrow(/must return a string, not/);
    expect(client.status.state).toBe("closed");
    expect(errors).toMatchObject([{ code: "unauthenticated" }]);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(gateway.sockets).toHaveLength(0);
  });

  it("that throws is asked again", async () => {
    let asked = 0;
    const connected = open({
      token: async () => {
        if (++asked < 3) throw new TypeError("Failed to fetch");
        return "right";
      },
    }).connect();
    await vi.advanceTimersByTimeAsync(5_000);
    await connected;
    expect(asked).toBe(3);
  });

  it("that hangs is given up, and asked again", async () => {
    let asked = 0;
    const connected = open({
      token: () => (++asked < 2 ? new Promise<string>(() => undefined) : Promise.resolve("right")),
    }).connect();
    await vi.advanceTimersByTimeAsync(15_000);
    await connected;
    expect(asked).toBe(2);
  });

  it("that fails to renew is asked again before the token expires", async () => {
    let asked = 0;
    const errors: GatewayError[] = [];
    await open({
      token: async () => {
        if (++asked === 2) throw new TypeError("Failed to fetch");
        return `token-${asked}`;
      },
    }).connect();
    client.on("error", (error) => errors.push(error));
    await vi.advanceTimersByTimeAsync(LIFE - 1);
    expect(errors).toMatchObject([{ code: "unavailable" }]);
    expect(gateway.last.commands("auth").map((command) => command["token"])).toEqual(["token-1", "token-3"]);
    expect(gateway.sockets).toHaveLength(1);
  });

  it("whose new token is refused is not asked again and again", async () => {
    let asked = 0;
    await open({ token: async () => `token-${++asked}` }).connect();
    gateway.answer = () => ({ op: "error", code: "unauthenticated", reason: "wrong" });
    await vi.advanceTimersByTimeAsync(2 * LIFE);
    expect(asked).toBe(2);
  });
});
