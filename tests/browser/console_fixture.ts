/** A gateway with something in every room of the console, and what its tests share. */
import axe from "axe-core";
import type { Page } from "playwright-core";
import { expect } from "vitest";
import { GatewayProcess } from "./gateway_process.js";

export const HOOK_SECRET = "0123456789abcdef0123456789abcdef";

export const SETTINGS = `
[[streams]]
name = "orders"
filter = "orders/#"

[[streams.groups]]
name = "billing"
filter = "orders/+/created"
start = "earliest"
max_deliver = 5
ack_wait = "10m"
backoff = ["10m"]

[[streams]]
name = "devices"
filter = "devices/#"
last_values = true

[[hooks]]
name = "shop"
scheme = "github"
secret = "env:CONSOLE_HOOK_SECRET"
topic = "orders/hooks/{header.x-github-event}"
`;

export interface Delivery {
  readonly delivery: string;
  readonly offset: number;
}

/** A gateway with streams, a group and a hook. */
export async function startGateway(more = ""): Promise<GatewayProcess> {
  process.env["CONSOLE_HOOK_SECRET"] = HOOK_SECRET;
  // Settings outside of tables have to come first.
  return await GatewayProcess.start(more + SETTINGS);
}

/** Publishes orders 1 to `count`, and a state of ten devices. */
export async function fill(gateway: GatewayProcess, count = 40): Promise<void> {
  await gateway.publishAll(
    Array.from({ length: count }, (_, index) => ({
      topic: index % 4 === 3 ? "orders/eu/paid" : `orders/${index % 2 === 0 ? "eu" : "us"}/created`,
      data: { number: index + 1, customer: `customer-${index % 7}`, card: { number: "4111 1111 1111 1111" } },
    })),
  );
  await gateway.publishAll(
    Array.from({ length: 10 }, (_, index) => ({ topic: `devices/${index}/state`, data: { on: index % 2 === 0 } })),
  );
}

/** Calls the HTTP API and returns the answer's JSON. */
export async function call<Answer>(
  gateway: GatewayProcess,
  path: string,
  body?: unknown,
  method = body === undefined ? "GET" : "POST",
): Promise<Answer> {
  const answer = await fetch(`${gateway.url}/v1/${path}`, {
    method,
    ...(body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
  });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  const text = await answer.text();
  return (text === "" ? undefined : JSON.parse(text)) as Answer;
}

/** What a page that reads late is sent all the same, and no connection is taken for dead meanwhile. */
export const PATIENT = `limits.outbox_messages = 100_000
limits.outbox_bytes = "64MiB"
limits.commands_per_second = 0
limits.ping_interval = "1h"
`;

/** Takes deliveries of the group without a socket. */
export async function pull(gateway: GatewayProcess, max: number, wait = 0): Promise<readonly Delivery[]> {
  const path = "streams/orders/groups/billing/pull";
  return (await call<{ deliveries: readonly Delivery[] }>(gateway, path, { max, wait })).deliveries;
}

/** Makes so many dead letters. */
export async function killSome(gateway: GatewayProcess, count: number): Promise<void> {
  for (let missing = count; missing > 0; ) {
    const deliveries = (await pull(gateway, missing, 20)).map(({ delivery }) => delivery);
    if (deliveries.length === 0) throw new Error(`${missing} of ${count} messages are missing`);
    await call(gateway, "streams/orders/groups/billing/nack", { deliveries, dead: true });
    missing -= deliveries.length;
  }
}

/** Nothing that axe finds wrong with the page as it is now. */
export async function expectAccessible(page: Page): Promise<void> {
  // By the protocol for debuggers, which the page's Content-Security-Policy doesn't concern.
  await page.evaluate(axe.source);
  const violations = await page.evaluate(async () => {
    const { axe: run } = globalThis as unknown as {
      axe: { run: () => Promise<{ violations: { id: string; nodes: { html: string; failureSummary: string }[] }[] }> };
    };
    return (await run.run()).violations.map(({ id, nodes }) => ({
      id,
      nodes: nodes.map(({ html, failureSummary }) => `${html}: ${failureSummary}`),
    }));
  });
  expect(violations).toEqual([]);
}
