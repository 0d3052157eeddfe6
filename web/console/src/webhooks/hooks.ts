/** Hooks and what became of their deliveries, as docs/webhooks.md tells. */
import { call, path } from "../gateway/api.js";
import { readSettings } from "../gateway/settings.js";
import type { Declaration } from "./signing.js";

export interface Hook {
  readonly name: string;
  readonly scheme: string;
  readonly topic: string | null;
}

export interface Delivery {
  readonly number: number;
  readonly time: number;
  readonly verdict: "published" | "repeated" | "ignored" | "answered" | "refused" | "replayed";
  readonly address?: string;
  readonly size: number;
  readonly delivery_id?: string;
  readonly topic?: string;
  readonly reason?: string;
  readonly detail?: string;
  readonly id?: string;
  readonly stream?: string;
  readonly offset?: number;
}

/** The hooks of the settings; of presets the topic is the preset's own where the settings have none. */
export async function listHooks(signal: AbortSignal): Promise<readonly Hook[]> {
  const { settings } = await readSettings(signal);
  const tables = settings.find((setting) => setting.name === "hooks")?.value;
  if (!Array.isArray(tables)) return [];
  return tables.map((table: Readonly<Record<string, unknown>>) => ({
    name: String(table["name"]),
    scheme: String(table["scheme"] ?? "hmac"),
    topic: typeof table["topic"] === "string" ? table["topic"] : null,
  }));
}

/** What a hook is told to do: its preset's part and the settings'. */
export async function readDeclaration(hook: string, signal: AbortSignal): Promise<Declaration> {
  return (await call<{ declaration: Declaration }>(path("hooks", hook, "declaration"), { signal })).declaration;
}

export async function listDeliveries(hook: string, signal: AbortSignal): Promise<readonly Delivery[]> {
  return (await call<{ deliveries: readonly Delivery[] }>(path("hooks", hook, "deliveries"), { signal })).deliveries;
}

export function replay(hook: string, number: number): Promise<{ id: string; stream?: string; offset?: number }> {
  return call(path("hooks", hook, "deliveries", number, "replay"), { method: "POST" });
}
