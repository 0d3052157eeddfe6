/** Callers that share a filter, each from a place of its own. */
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Client, type Gap, type Message, type StartFrom, matches } from "../src/index.js";
import { ModelGateway } from "./model_gateway.js";

let gateway: ModelGateway;
let client: Client;

beforeEach(async () => {
  vi.useFakeTimers();
  await begin();
});

afterEach(() => {
  client.close();
  vi.useRealTimers();
});

async function begin(): Promise<void> {
  gateway = new ModelGateway();
  client = new Client("http://gateway.test", { WebSocket: gateway.scripted.WebSocket, backoff: { initial: 1 } });
  await client.connect();
}

const turn = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0);

/** Has the gateway give all the history that there is. */
async function drain(): Promise<void> {
  await turn();
  while (gateway.reading) {
    gateway.step();
    await turn();
  }
}

/** What one caller hears. */
class Heard {
  constructor(private readonly from: unknown = "new") {}
  readonly offsets: number[] = [];
  readonly snapshot: number[] = [];
  caughtUp = false;
  readonly gaps: Gap[] = [];
  readonly options = {
    onMessage: ({ offset, snapshot }: Message) => void (snapshot ? this.snapshot : this.offsets).push(offset as number),
    onCaughtUp: () => void (this.caughtUp = true),
    onGap: (gap: Gap) => {
      this.gaps.push(gap);
      // A snapshot begins anew: what was shown counts no more.
      if (this.from === "snapshot") this.offsets.length = this.snapshot.length = 0;
    },
  };
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}

it("each get all of what they asked for, once", async () => {
  for (let number = 1; number <= 5; number += 1) gateway.publish("orders/a");
  const [all, some, fresh] = [new Heard(), new Heard(), new Heard()];
  void client.subscribe("orders/#", { from: "earliest", ...all.options });
  const plain = client.subscribe("orders/#", fresh.options);
  void client.subscribe("orders/#", { from: { last: 2 }, ...some.options });
  await drain();
  await plain;
  gateway.publish("orders/a");
  expect([all.offsets, some.offsets, fresh.offsets]).toEqual([range(1, 6), range(4, 6), [6]]);
  expect([all.caughtUp, some.caughtUp]).toEqual([true, true]);
  expect(gateway.scripted.last.commands("subscribe")).toHaveLength(2);
});

it("come and go as React's strict mode has it", async () => {
  gateway.publish("orders/a");
  const heard = new Heard();
  const first = new AbortController();
  const abandoned = client.subscribe("orders/#", { from: "earliest", onMessage: () => expect.unreachable(), signal: first.signal });
  first.abort();
  await expect(abandoned).rejects.toMatchObject({ name: "AbortError" });
  void client.subscribe("orders/#", { from: "earliest", ...heard.options });
  await drain();
  expect(heard.offsets).toEqual([1]);
});

it("a state and a subscription share a filter", async () => {
  for (const topic of ["orders/a", "orders/b", "orders/a"]) gateway.publish(topic);
  const state = client.state("orders/+");
  const heard = new Heard();
  void client.subscribe("orders/+", { from: "earliest", ...heard.options });
  const other = client.state("orders/+");
  await drain();
  gateway.publish("orders/b");
  for (const each of [state, other]) {
    expect([...each.getSnapshot().values()].map(({ offset }) => offset).sort()).toEqual([3, 4]);
    expect(each.stale).toBe(false);
  }
  expect(heard.offsets).toEqual(range(1, 4));
  expect(heard.snapshot).toEqual([]);
});

it("whoever is behind what another one asks for goes on from its own place", async () => {
  gateway.publish("orders/a");
  const [slow, late] = [new Heard(), new Heard()];
  void client.subscribe("orders/#", slow.options);
  await turn();
  // The gateway has more than it could send to this connection.
  for (let number = 2; number <= 6; number += 1) gateway.log.push({ ...gateway.log[0], offset: number, data: number });
  void client.subscribe("orders/#", { from: { last: 2 }, ...late.options });
  await drain();
  gateway.publish("orders/a");
  expect([slow.offsets, late.offsets]).toEqual([range(2, 7), [5, 6, 7]]);
  expect(slow.gaps).toEqual([]);
});

it("after a refusal of one the others go on", async () => {
  const heard = new Heard();
  await client.subscribe("orders/#", heard.options);
  const answer = gateway.scripted.answer;
  gateway.scripted.answer = () => ({ op: "error", code: "bad_command", reason: "no such offset" });
  await expect(client.subscribe("orders/#", { from: { offset: 3 } })).rejects.toMatchObject({ code: "bad_command" });
  gateway.scripted.answer = answer;
  gateway.publish("orders/a");
  expect(heard.offsets).toEqual([1]);
});

it("options that are refused are asked for no more, and are told to who gave them alone", async () => {
  const [heard, history] = [new Heard(), new Heard()];
  await client.subscribe("orders/#", { overflow: "latest", ...heard.options });
  const answer = gateway.scripted.answer;
  gateway.scripted.answer = (command) =>
    command["overflow"] === "never" ? { op: "error", code: "bad_command", reason: "no such policy" } : answer(command);
  gateway.publish("orders/a");
  const refused = client.subscribe("orders/#", { overflow: "never" as "latest" });
  const reading = client.subscribe("orders/#", { from: "earliest", ...history.options });
  await expect(refused).rejects.toMatchObject({ code: "bad_command" });
  await drain();
  await reading;
  // Who begins somewhere may have brought them too.
  await expect(client.subscribe("orders/#", { from: "earliest", overflow: "never" as "latest" })).rejects.toMatchObject({ code: "bad_command" });
  gateway.scripted.last.fail(1006);
  while (client.status.state !== "connected") await vi.advanceTimersToNextTimerAsync();
  await drain();
  gateway.publish("orders/a");
  expect([heard.offsets, history.offsets]).toEqual([[1, 2], [1, 2]]);
  expect(gateway.scripted.last.commands("subscribe")[0]).toMatchObject({ overflow: "latest" });
});

it("where nobody knows what the gateway has, they ask again", async () => {
  const heard = new Heard();
  await client.subscribe("orders/#", heard.options);
  gateway.publish("orders/a");
  const answer = gateway.scripted.answer;
  gateway.scripted.answer = (command) => {
    answer(command); // it was done, and the answer was lost
    return null;
  };
  const lost = expect(client.subscribe("orders/#", { from: "earliest" })).rejects.toMatchObject({ code: "timeout" });
  await vi.advanceTimersByTimeAsync(9000);
  gateway.publish("orders/a");
  gateway.scripted.answer = answer;
  await vi.advanceTimersByTimeAsync(1000);
  await lost;
  await drain();
  gateway.publish("orders/a");
  expect(heard.offsets).toEqual([1, 2, 3]);
});

it("however they come and go, and whatever breaks, each has everything once and in order", async () => {
  let seed = 1;
  const random = (below: number): number => (seed = (seed * 48271) % 2147483647) % below;
  const begins: readonly (StartFrom | "resume")[] = ["new", "earliest", { last: 2 }, "snapshot", "resume"];
  for (let run = 0; run < 150; run += 1) {
    const callers: { filter: string; heard: Heard; from: StartFrom | "resume"; first: number; unsubscribe: () => Promise<void> }[] = [];
    for (let step = 0; step < 40; step += 1) {
      const kind = random(9);
      if (kind < 3) gateway.publish(`orders/${random(2)}`);
      else if (kind < 6) gateway.step();
      else if (kind === 6) {
        const from = begins[random(begins.length)] as StartFrom | "resume";
        const heard = new Heard(from);
        const first = random(gateway.end + 1);
        const beginning = from === "resume" ? { resume: { orders: { epoch: "e1", offset: first } } } : { from };
        const filter = random(3) === 0 ? "orders/0" : "orders/#";
        const subscribed = client.subscribe(filter, { ...beginning, ...heard.options });
        callers.push({ filter, heard, from, first, unsubscribe: async () => (await subscribed).unsubscribe() });
      } else if (kind === 7 && callers.length > 0 && random(2) === 0) {
        void callers.splice(random(callers.length), 1)[0]?.unsubscribe();
      } else if (kind === 8 && random(3) === 0) {
        gateway.scripted.last.fail(1006);
        while (client.status.state !== "connected") await vi.advanceTimersToNextTimerAsync();
      }
      await turn();
    }
    await drain();
    gateway.publish("orders/0");
    const { end } = gateway;
    for (const { filter, heard, from, first } of callers) {
      const { offsets, snapshot } = heard;
      const all = gateway.log.filter(({ topic }) => matches(filter, String(topic))).map(({ offset }) => Number(offset));
      const begun = offsets[0] ?? end + 1;
      expect(offsets, `run ${run}, ${filter} from ${JSON.stringify(from)}`).toEqual(all.filter((offset) => offset >= begun));
      if (from === "earliest") expect(begun).toBe(all[0]);
      if (from === "resume") expect(begun).toBe(all.find((offset) => offset > first));
      if (from === "snapshot") expect(snapshot.every((offset) => offset < begun)).toBe(true);
      else expect(snapshot).toEqual([]);
      expect(heard.gaps.filter(({ reason }) => reason !== "reconnect")).toEqual([]);
    }
    client.close();
    await begin();
  }
});
