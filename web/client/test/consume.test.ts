import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Client, type ClientOptions, type Consumer, type Delivery, type GatewayError } from "../src/index.js";
import { ScriptedGateway, answerLikeTheGateway, delivery } from "./scripted_socket.js";

type Frame = Record<string, unknown>;
interface Order {
  readonly total: number;
}

let gateway: ScriptedGateway;
let client: Client;

function open(options: ClientOptions = {}): Client {
  client = new Client("http://gateway.test", { WebSocket: gateway.WebSocket, ...options });
  return client;
}

/** A member of `orders/billing` on a connection that stands. */
async function join(options: { credit?: number } = {}): Promise<Consumer> {
  await open().connect();
  const consumer = client.consume("orders", { group: "billing", ...options });
  await consumer.ready;
  return consumer;
}

async function next(consumer: Consumer): Promise<Delivery> {
  const { value } = await consumer[Symbol.asyncIterator]().next();
  if (value === undefined) throw new Error("the consumer has ended");
  return value;
}

/** The gateway answers these ops so, and everything else as ever. */
function answering(answers: Record<string, Frame | null>): void {
  gateway.answer = (command) => {
    const answer = answers[String(command["op"])];
    return answer === undefined ? answerLikeTheGateway(command) : answer;
  };
}

const turn = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0);

beforeEach(() => {
  vi.useFakeTimers();
  gateway = new ScriptedGateway();
});

afterEach(() => {
  client.close();
  vi.useRealTimers();
});

describe("a consumer", () => {
  it("joins its group, hands out what is delivered, and acks", async () => {
    await open().connect();
    const consumer = client.consume<Order>("orders", { group: "billing", credit: 7, filter: "orders/#" });
    await consumer.ready;
    gateway.last.push(delivery(40));
    const held = (await consumer[Symbol.asyncIterator]().next()).value as Delivery;
    gateway.last.push(delivery(41, { data: { total: 42 }, attempt: 2 }));
    for await (const taken of consumer) {
      expect(taken.data.total).toBe(42);
      expect(taken).toMatchObject({ topic: "orders/eu", stream: "orders", offset: 41, group: "billing", attempt: 2, fence: 41 });
      expect(await taken.ack()).toBe(true);
      break;
    }
    expect(gateway.last.commands("consume")).toMatchObject([{ stream: "orders", group: "billing", credit: 7, filter: "orders/#" }]);
    expect(gateway.last.commands("ack")).toMatchObject([{ deliveries: ["token-41"] }]);
    // Leaving the loop leaves the group, behind the answers; what has not been answered by then can't be.
    expect(gateway.last.sent.at(-1)).toMatchObject({ op: "release", stream: "orders", group: "billing" });
    await expect(held.ack()).rejects.toMatchObject({ code: "closed" });
  });

  it("that is left before the gateway has answered leaves all the same", async () => {
    await open().connect();
    answering({ consume: null });
    const consumer = client.consume("orders", { group: "billing" });
    const left = consumer.close();
    await turn();
    const [asked] = gateway.last.commands("consume");
    gateway.last.push({ op: "consuming", ref: asked?.["ref"], stream: "orders", group: "billing", credit: 32 });
    await left;
    expect(gateway.last.commands("release")).toMatchObject([{ stream: "orders", group: "billing" }]);
  });

  describe("whose group answers too late", () => {
    async function late(): Promise<{ consumer: Consumer; answer: () => void }> {
      await open().connect();
      answering({ consume: null });
      const consumer = client.consume("orders", { group: "billing", credit: 5 });
      await vi.advanceTimersByTimeAsync(10_000);
      const [asked] = gateway.last.commands("consume");
      gateway.answer = answerLikeTheGateway;
      return {
        consumer,
        answer: () => gateway.last.push({ op: "consuming", ref: asked?.["ref"], stream: "orders", group: "billing", credit: 5 }),
      };
    }

    it("takes the deliveries that come behind the answer", async () => {
      const { consumer, answer } = await late();
      answer();
      gateway.last.push(delivery(1));
      await vi.advanceTimersByTimeAsync(5000);
      await consumer.ready;
      expect(await (await next(consumer)).ack()).toBe(true);
      expect(gateway.last.commands("ack")).toMatchObject([{ deliveries: ["token-1"] }]);
    });

    it("is no member any more once it was left", async () => {
      const { consumer, answer } = await late();
      await consumer.close();
      answer();
      expect(gateway.last.commands("release")).toMatchObject([{ stream: "orders", group: "billing" }]);
    });
  });

  it("has the credit that was set before the gateway had answered", async () => {
    await open().connect();
    const consumer = client.consume("orders", { group: "billing", credit: 5 });
    await consumer.setCredit(50);
    expect(gateway.last.commands("consume").map((command) => command["credit"])).toEqual([5, 50]);
  });

  it("sends the answers of one moment together, and each its own result", async () => {
    const consumer = await join();
    for (const offset of [1, 2, 3, 4]) gateway.last.push(delivery(offset));
    const taken = [await next(consumer), await next(consumer), await next(consumer), await next(consumer)] as const;
    answering({ ack: { op: "acked", deliveries: ["token-1"], stale: ["token-2"] } });
    const results = await Promise.all([
      taken[0].ack(),
      taken[1].ack(),
      taken[2].nack({ delay: 500 }),
      taken[3].nack({ dead: true }),
      taken[0].nack(), // answered already
    ]);
    expect(results).toEqual([true, false, true, true, true]);
    expect(gateway.last.commands("ack")).toMatchObject([{ deliveries: ["token-1", "token-2"] }]);
    const [delayed, dead] = gateway.last.commands("nack");
    expect(delayed).toMatchObject({ deliveries: ["token-3"], delay: 500 });
    expect(dead).toMatchObject({ deliveries: ["token-4"], dead: true });
    expect(gateway.last.commands("nack")).toHaveLength(2);
  });

  it("extends a lease", async () => {
    const consumer = await join();
    gateway.last.push(delivery(1));
    const taken = await next(consumer);
    expect(await taken.extend(90_000)).toBe(true);
    expect(taken.deadline).toBe(Date.now() + 90_000);
    expect(gateway.last.commands("extend")).toMatchObject([{ deliveries: ["token-1"], by: 90_000 }]);
  });

  it("keeps the leases of what waits, and does not begin what was lost meanwhile", async () => {
    const consumer = await join();
    gateway.last.push(delivery(1));
    gateway.last.push(delivery(2));
    await vi.advanceTimersByTimeAsync(5000);
    expect(gateway.last.commands("extend")).toMatchObject([{ deliveries: ["token-1", "token-2"], by: 120_000 }]);
    answering({ extend: { op: "acked", deliveries: ["token-2"], stale: ["token-1"] } });
    await vi.advanceTimersByTimeAsync(40_000);
    expect(consumer.buffered).toBe(1);
    expect((await next(consumer)).offset).toBe(2);
    await vi.advanceTimersByTimeAsync(120_000);
    expect(gateway.last.commands("extend")).toHaveLength(2);
  });

  it("joins again after a reconnect, and hands out nothing that went to others", async () => {
    const consumer = await join({ credit: 5 });
    gateway.last.push(delivery(1));
    gateway.last.push(delivery(2));
    const held = await next(consumer);
    gateway.last.fail(1006);
    const answer = held.ack(); // waits for the connection
    await vi.advanceTimersByTimeAsync(2000);
    expect(await answer).toBe(true);
    expect(gateway.sockets).toHaveLength(2);
    expect(gateway.last.commands("ack")).toMatchObject([{ deliveries: ["token-1"] }]);
    expect(gateway.last.commands("consume")).toMatchObject([{ stream: "orders", group: "billing", credit: 5 }]);
    expect(consumer.buffered).toBe(0);
    gateway.last.push(delivery(3));
    expect((await next(consumer)).offset).toBe(3);
  });

  it("repeats an answer whose reply was lost, for a minute", async () => {
    const consumer = await join();
    gateway.last.push(delivery(1));
    gateway.last.push(delivery(2));
    const [first, second] = [await next(consumer), await next(consumer)];
    answering({ ack: { op: "error", code: "unavailable", reason: "store" } });
    const answer = first.ack();
    await vi.advanceTimersByTimeAsync(3000);
    gateway.answer = answerLikeTheGateway;
    await vi.advanceTimersByTimeAsync(1000);
    expect(await answer).toBe(true);

    answering({ nack: { op: "error", code: "unavailable", reason: "store" } });
    const late = expect(second.nack()).rejects.toMatchObject({ code: "unavailable" });
    await vi.advanceTimersByTimeAsync(62_000);
    await late;
  });

  it("rejects an answer that can't be given without a connection either", async () => {
    const consumer = await join();
    gateway.last.push(delivery(1));
    const held = await next(consumer);
    gateway.reachable = false;
    gateway.last.fail(1006);
    const late = expect(held.ack()).rejects.toMatchObject({ code: "timeout" });
    await vi.advanceTimersByTimeAsync(62_000);
    await late;
  });

  it("rejects an answer in time however many others come meanwhile", async () => {
    const consumer = await join();
    for (let offset = 1; offset <= 150; offset += 1) gateway.last.push(delivery(offset));
    const held: Delivery[] = [];
    while (held.length < 150) held.push(await next(consumer));
    gateway.reachable = false;
    gateway.last.fail(1006);
    const rejected = vi.fn();
    for (const each of held) {
      void each.ack().catch(rejected);
      await vi.advanceTimersByTimeAsync(500);
    }
    expect(rejected.mock.calls.length).toBeGreaterThan(20);
  });

  it("that is refused ends with the reason; one that can't be served now tries again", async () => {
    await open().connect();
    const errors: GatewayError[] = [];
    client.on("error", (error) => errors.push(error));
    answering({ consume: { op: "error", code: "not_found", reason: "no group" } });
    const refused = client.consume("orders", { group: "none" });
    await expect(refused.ready).rejects.toMatchObject({ code: "not_found" });
    await expect(refused[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: "not_found" });

    answering({ consume: { op: "error", code: "unavailable", reason: "store" } });
    const patient = client.consume("orders", { group: "billing" });
    await vi.advanceTimersByTimeAsync(1);
    gateway.answer = answerLikeTheGateway;
    await vi.advanceTimersByTimeAsync(4000);
    await patient.ready;
    expect(errors.map(({ code }) => code)).toEqual(["not_found", "unavailable"]);
  });

  it("ends where the gateway says that the group has gone", async () => {
    const consumer = await join();
    const reading = expect(consumer[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: "not_found" });
    gateway.last.push({ op: "error", ref: null, code: "not_found", reason: "the group has been removed" });
    gateway.last.push({ op: "released", stream: "orders", group: "billing" });
    await reading;
    expect(consumer.error).toMatchObject({ reason: "the group has been removed" });
    gateway.last.fail(1006);
    await vi.advanceTimersByTimeAsync(2000);
    expect(gateway.last.commands("consume")).toEqual([]);
  });

  it("is alone in its group; another one follows once it was closed", async () => {
    const first = await join();
    await expect(client.consume("orders", { group: "billing" }).ready).rejects.toMatchObject({ code: "conflict" });
    void first.close();
    const second = client.consume("orders", { group: "billing" });
    await second.ready;
    expect(gateway.last.sent.map(({ op }) => op)).toEqual(["consume", "release", "consume"]);
    gateway.last.push(delivery(1));
    expect((await next(second)).offset).toBe(1);
  });

  it.each(["rate_limited", "token_expired"])("that could not be left for now (%s) is left later", async (code) => {
    const consumer = await join();
    gateway.last.push(delivery(1));
    answering({ release: { op: "error", code, reason: "not now" } });
    await consumer.close();
    await vi.advanceTimersByTimeAsync(5000);
    expect(gateway.last.commands("release").length).toBeGreaterThan(1);
    gateway.answer = answerLikeTheGateway;
    await vi.advanceTimersByTimeAsync(2000);
    const { length } = gateway.last.commands("release");
    await vi.advanceTimersByTimeAsync(10_000);
    expect(gateway.last.commands("release")).toHaveLength(length);
  });

  it("is left where the gateway delivers what nobody consumes", async () => {
    await open().connect();
    gateway.last.push(delivery(1));
    gateway.last.push(delivery(2));
    await turn();
    expect(gateway.last.commands("release")).toMatchObject([{ stream: "orders", group: "billing" }]);
  });

  it("ends with its signal, and with the client", async () => {
    await open().connect();
    const controller = new AbortController();
    const consumer = client.consume("orders", { group: "billing", signal: controller.signal });
    const other = client.consume("orders", { group: "stock" });
    await other.ready;
    controller.abort();
    expect(await consumer[Symbol.asyncIterator]().next()).toEqual({ done: true, value: undefined });
    client.close();
    expect(await other[Symbol.asyncIterator]().next()).toEqual({ done: true, value: undefined });
    await expect(client.consume("orders", { group: "x" }).ready).rejects.toMatchObject({ code: "closed" });
  });
});

describe("handling", () => {
  it("acks what is done, nacks what fails, and leaves to the handler what it has answered", async () => {
    const consumer = await join();
    for (const offset of [1, 2, 3]) gateway.last.push(delivery(offset));
    expect(await (await next(consumer)).handle(async () => turn())).toBe(true);
    const own = new Error("the handler's own");
    await expect((await next(consumer)).handle(() => { throw own; })).rejects.toBe(own);
    await (await next(consumer)).handle((delivery) => delivery.nack({ dead: true }));
    expect(gateway.last.commands("ack")).toMatchObject([{ deliveries: ["token-1"] }]);
    expect(gateway.last.commands("nack")).toMatchObject([{ deliveries: ["token-2"] }, { deliveries: ["token-3"], dead: true }]);
  });

  it("keeps the lease alive, and tells where it is lost", async () => {
    const consumer = await join();
    gateway.last.push(delivery(1, { deadline: Date.now() + 3000 }));
    let finish = (): void => undefined;
    let aborted = false;
    const handling = (await next(consumer)).handle((_delivery, signal) => {
      signal.addEventListener("abort", () => (aborted = true));
      return new Promise<void>((resolve) => (finish = resolve));
    });
    await vi.advanceTimersByTimeAsync(1000);
    expect(gateway.last.commands("extend")).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(120_000);
    expect(gateway.last.commands("extend")).toHaveLength(4);
    expect(aborted).toBe(false);
    const stale = { op: "acked", deliveries: [], stale: ["token-1"] };
    answering({ extend: stale, ack: stale });
    gateway.last.fail(1006); // the lease is asked about as soon as there is a connection
    await vi.advanceTimersByTimeAsync(1000);
    expect(aborted).toBe(true);
    finish();
    expect(await handling).toBe(false);
  });
});

describe("a worker", () => {
  /** Handlers that end when the test says so. */
  class Jobs {
    readonly begun: unknown[] = [];
    readonly #ends = new Map<unknown, () => void>();
    readonly run = ({ data }: Delivery): Promise<void> => {
      this.begun.push(data);
      return new Promise((resolve) => this.#ends.set(data, resolve));
    };
    finish(data: unknown): Promise<unknown> {
      this.#ends.get(data)?.();
      return turn();
    }
  }

  it("lets go of what it has done", async () => {
    await open().connect();
    const done: WeakRef<Delivery>[] = [];
    const worker = client.work("orders", { group: "billing", concurrency: 2 }, (each) => void done.push(new WeakRef(each)));
    await turn();
    for (let offset = 1; offset <= 20; offset += 1) {
      gateway.last.push(delivery(offset));
      await turn();
    }
    vi.useRealTimers();
    await new Promise((resolve) => setTimeout(resolve)); // what a WeakRef has told stays for the turn
    setFlagsFromString("--expose-gc");
    (runInNewContext("gc") as () => void)();
    expect(done).toHaveLength(20);
    expect(done.slice(0, 15).filter((each) => each.deref() !== undefined)).toEqual([]);
    await worker.stop();
  });

  it("works on so many at once, and begins nothing after stop", async () => {
    await open().connect();
    const jobs = new Jobs();
    const worker = client.work("orders", { group: "billing", concurrency: 2, credit: 3 }, jobs.run);
    await turn();
    for (const offset of [1, 2, 3]) gateway.last.push(delivery(offset));
    await turn();
    expect(jobs.begun).toEqual([1, 2]);
    await jobs.finish(1);
    expect(jobs.begun).toEqual([1, 2, 3]);
    gateway.last.push(delivery(4));
    const stopped = worker.stop();
    await turn();
    await jobs.finish(2);
    await jobs.finish(3);
    await stopped;
    await worker.done;
    expect(jobs.begun).toEqual([1, 2, 3]);
    expect(gateway.last.commands("ack").flatMap((command) => command["deliveries"])).toEqual(["token-1", "token-2", "token-3"]);
    // The gateway is asked for less and less, so that there is little to give back.
    expect(gateway.last.commands("consume").map((command) => command["credit"])).toEqual([3, 2, 1, 1]);
    expect(gateway.last.sent.at(-1)).toMatchObject({ op: "release" });
  });

  it("goes on after a handler that fails, and says which", async () => {
    await open().connect();
    const told: unknown[] = [];
    const own = new Error("the handler's own");
    const options = { group: "billing", onError: (thrown: unknown, { offset }: Delivery) => told.push([thrown, offset]) };
    const worker = client.work("orders", options, ({ offset }) => { if (offset === 1) throw own; });
    await turn();
    gateway.last.push(delivery(1));
    gateway.last.push(delivery(2));
    await vi.advanceTimersByTimeAsync(10);
    expect(told).toEqual([[own, 1]]);
    expect(gateway.last.commands("nack")).toMatchObject([{ deliveries: ["token-1"] }]);
    expect(gateway.last.commands("ack")).toMatchObject([{ deliveries: ["token-2"] }]);
    await worker.stop();
  });

  it("nacks what takes too long", async () => {
    await open().connect();
    const told: unknown[] = [];
    let reason: unknown;
    client.work("orders", { group: "billing", timeout: 1000, onError: (thrown) => told.push(thrown) }, (_delivery, signal) => {
      signal.addEventListener("abort", () => (reason = signal.reason));
      return new Promise(() => undefined);
    });
    await turn();
    gateway.last.push(delivery(1));
    await vi.advanceTimersByTimeAsync(1001);
    expect(gateway.last.commands("nack")).toMatchObject([{ deliveries: ["token-1"] }]);
    expect(told).toMatchObject([{ code: "timeout" }]);
    expect(reason).toBe(told[0]);
  });

  it("gives back what has not ended when its patience has", async () => {
    await open().connect();
    let aborted = false;
    const worker = client.work("orders", { group: "billing", onError: () => undefined }, (_delivery, signal) => {
      signal.addEventListener("abort", () => (aborted = true));
      return new Promise(() => undefined);
    });
    await turn();
    gateway.last.push(delivery(1));
    await turn();
    const stopped = worker.stop(2000);
    await vi.advanceTimersByTimeAsync(1999);
    expect(gateway.last.commands("release")).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    await stopped;
    expect(aborted).toBe(true);
    expect(gateway.last.commands("release")).toHaveLength(1);
  });

  it.each(["ack", "release"])("stops in time where the gateway does not answer a %s", async (silent) => {
    await open().connect();
    const jobs = new Jobs();
    const worker = client.work("orders", { group: "billing", onError: () => undefined }, jobs.run);
    await turn();
    gateway.last.push(delivery(1));
    await turn();
    answering({ [silent]: null });
    if (silent === "ack") await jobs.finish(1);
    const stopped = vi.fn();
    void worker.stop(1000).then(stopped);
    await vi.advanceTimersByTimeAsync(2999);
    expect(stopped).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1);
    expect(stopped).toHaveBeenCalled();
  });

  it("works on many at once without a warning of Node's", async () => {
    vi.useRealTimers();
    await open().connect();
    const warned = vi.fn();
    process.on("warning", warned);
    const jobs = new Jobs();
    client.work("orders", { group: "billing", concurrency: 20 }, jobs.run);
    await vi.waitFor(() => expect(gateway.last.commands("consume")).toHaveLength(1));
    for (let offset = 1; offset <= 20; offset += 1) gateway.last.push(delivery(offset));
    await vi.waitFor(() => expect(jobs.begun).toHaveLength(20));
    await new Promise((resolve) => setTimeout(resolve)); // warnings are told in the next turn
    process.off("warning", warned);
    expect(warned).not.toHaveBeenCalled();
  });

  it("is done with the reason where the gateway ends it", async () => {
    await open().connect();
    answering({ consume: { op: "error", code: "forbidden", reason: "no grant" } });
    const worker = client.work("orders", { group: "billing" }, () => undefined);
    await expect(worker.done).rejects.toMatchObject({ code: "forbidden" });
  });
});
