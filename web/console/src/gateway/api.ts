/** Calls of the gateway's HTTP API, as docs/http.md has it. Addresses are relative to the page. */
import { signal } from "@preact/signals";

/** Why a call failed, in the gateway's words (RFC 9457), or `unreachable` where nothing answered. */
export class Problem extends Error {
  override readonly name = "Problem";

  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
  ) {
    super(detail);
  }
}

export type Query = Readonly<Record<string, string | number | boolean | null | undefined>>;

export interface CallOptions {
  readonly method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly query?: Query;
  /** Sent as JSON. */
  readonly body?: unknown;
  readonly signal?: AbortSignal;
}

/** The token or key of who is signed in: in this page's memory and nowhere else. */
export const credential = signal<string | null>(null);
/** The code of the last call that was refused for its credential; null once one was not. */
export const refusal = signal<string | null>(null);

/** The header that a call with this credential carries. */
export function authorization(token: string | null = credential.value): Record<string, string> {
  return token === null ? {} : { authorization: `Bearer ${token}` };
}

export function address(path: string, query: Query = {}): string {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const search = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return new URL(`${path}${search === "" ? "" : `?${search}`}`, document.baseURI).href;
}

/** `v1/streams/a%2Fb/groups`: a path whose parts may hold anything. */
export function path(...parts: readonly (string | number)[]): string {
  return ["v1", ...parts.map((part) => encodeURIComponent(String(part)))].join("/");
}

/**
 * The answer's JSON; undefined where there is none.
 *
 * @throws Problem for every status but those of success; DOMException `AbortError`.
 */
export async function call<Answer>(target: string, options: CallOptions = {}): Promise<Answer> {
  const used = credential.value;
  const response = await reach(address(target, options.query), {
    method: options.method ?? "GET",
    headers: { ...authorization(used), ...(options.body === undefined ? {} : { "content-type": "application/json" }) },
    ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  if (!response.ok) {
    const problem = await toProblem(response);
    // Of an answer to a credential that has been replaced meanwhile nothing follows.
    if (response.status === 401 && used === credential.value) refusal.value = problem.code;
    throw problem;
  }
  if (used === credential.value) refusal.value = null;
  const text = await response.text();
  return (text === "" ? undefined : JSON.parse(text)) as Answer;
}

/** `fetch`, whose failures are told as a `Problem`. */
export async function reach(url: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(url, { ...init, credentials: "same-origin", cache: "no-store" });
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new Problem(0, "unreachable", "the gateway does not answer");
  }
}

export async function toProblem(response: Response): Promise<Problem> {
  const text = await response.text();
  try {
    const told = JSON.parse(text) as { code?: string; detail?: string; title?: string };
    return new Problem(response.status, told.code ?? "unknown", told.detail ?? told.title ?? response.statusText);
  } catch {
    return new Problem(response.status, "unknown", text.slice(0, 200) || response.statusText);
  }
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

export function inWords(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
