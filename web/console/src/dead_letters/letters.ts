/** Dead letters of a group, as docs/http.md tells of them. */
import { type CallOptions, call } from "../gateway/api.js";
import { callInSteps } from "../gateway/lines.js";
import { type Group, groupPath, viewPath } from "../queues/groups.js";
import type { Progress } from "../ui/dialog.js";
import type { WireMessage } from "../ui/message.js";

export interface Letter extends Omit<WireMessage, "id"> {
  readonly id: string;
  readonly message_id: string;
  readonly attempts: number;
  readonly reason: string;
  readonly first_failed: number;
  readonly last_failed: number;
}

export interface Search {
  readonly filter: string;
  readonly contains: string;
}

/** Which letters: some by id, or all that a search finds. */
export type Choice = { readonly ids: readonly string[] } | Search;

export interface Page {
  readonly items: readonly Letter[];
  readonly next: string | null;
}

export function listLetters(
  group: Group,
  { filter, contains }: Search,
  after: string | null,
  signal: AbortSignal,
): Promise<Page> {
  return call<Page>(viewPath(group, "dead-letters"), { query: { filter, contains, after, limit: 200 }, signal });
}

/** How many would be sent back, or given up. */
export async function rehearse(
  group: Group,
  action: "redrive" | "discard",
  choice: Choice,
  signal: AbortSignal,
): Promise<number> {
  const { target, options } = request(group, action, { ...body(choice), dry_run: true }, signal);
  return (await call<{ count: number }>(target, options)).count;
}

export async function perform(
  group: Group,
  action: "redrive" | "discard",
  choice: Choice,
  tell: (progress: Progress) => void,
  signal: AbortSignal,
): Promise<number> {
  const { target, options } = request(group, action, body(choice), signal);
  return (await callInSteps<{ count: number }>(target, options, tell)).count;
}

function request(
  group: Group,
  action: "redrive" | "discard",
  given: object,
  signal: AbortSignal,
): { target: string; options: CallOptions } {
  return action === "redrive"
    ? { target: groupPath(group, "dead-letters", "redrive"), options: { method: "POST", body: given, signal } }
    : { target: groupPath(group, "dead-letters"), options: { method: "DELETE", body: given, signal } };
}

function body(choice: Choice): object {
  if ("ids" in choice) return { ids: choice.ids };
  return {
    ...(choice.filter === "" ? {} : { filter: choice.filter }),
    ...(choice.contains === "" ? {} : { contains: choice.contains }),
  };
}
