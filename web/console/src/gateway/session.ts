/** Who is signed in, what that allows, and the page's one WebSocket. */
import { Client } from "@fanout-gateway/client";
import { batch, computed, signal } from "@preact/signals";
import { Problem, address, authorization, credential, reach, refusal, toProblem } from "./api.js";
import { masks } from "./mask.js";

/** Topic filters, and groups as `stream/group`. */
export interface Grants {
  readonly subscribe: readonly string[];
  readonly publish: readonly string[];
  readonly consume: readonly string[];
}

/**
 * `asking`: nobody knows yet. `closed`: a credential is needed. `open`: whoever this is may come in; `admin` says
 * whether the calls of administration answer.
 */
export type Access =
  | { readonly state: "asking" | "closed" }
  | { readonly state: "open"; readonly admin: boolean; readonly subject: string | null; readonly grants: Grants };

export const access = signal<Access>({ state: "asking" });
export const isAdmin = computed(() => access.value.state === "open" && access.value.admin);
/** Whether there is a grant of this kind, whatever it reaches; administrators look at everything. */
export function mayAnything(kind: keyof Grants): boolean {
  const { value } = access;
  return value.state === "open" && (value.admin || value.grants[kind].length > 0);
}
/** The connection of all rooms; another one after each sign-in. */
export const client = signal<Client | null>(null);
/** The moment, by this browser's clock (ms), and whether the gateway answered it. */
export const now = signal(Date.now());

/** What a token says of itself; null for an API key, which says nothing. */
export interface Claims {
  readonly subject: string | null;
  /** Milliseconds since 1970; null where it does not expire. */
  readonly expires: number | null;
}

export const claims = computed<Claims | null>(() => readClaims(credential.value));
/** Milliseconds that the credential is still good for; null where nobody knows an end. */
export const timeLeft = computed(() => {
  const expires = claims.value?.expires ?? null;
  return expires === null ? null : expires - now.value;
});
/** Whether the credential has been refused, or will be soon: the page asks for another. */
export const mustRenew = computed(
  () =>
    credential.value !== null && (refusal.value !== null || (timeLeft.value !== null && timeLeft.value < RENEW_AHEAD)),
);

/** How long before its end the page asks for another credential, in milliseconds. */
const RENEW_AHEAD = 120_000;
/** What `GET /v1/console` tells (docs/http.md, "The console's own"); most is null where a right credential lacks. */
interface Told {
  readonly version: string;
  readonly authentication: string | null;
  readonly admin: boolean | null;
  readonly subject: string | null;
  readonly grants: Grants | null;
  readonly mask: readonly string[] | null;
}

/** The gateway's version. */
export const version = signal<string | null>(null);
/** Whether one can sign in at all. */
export const asksForCredentials = signal(false);

/** How long until the gateway is asked again who may come in, where it doesn't answer, in milliseconds. */
const AGAIN = 2000;
/** What may be shown changes with a reload of the settings, which nobody tells the page. */
const LOOK_AGAIN = 60_000;

/** Finds out who may come in without a credential, and opens the connection if that is everybody. */
export async function begin(): Promise<void> {
  setInterval(() => (now.value = Date.now()), 1000);
  setInterval(() => {
    if (access.value.state === "open" && !document.hidden) void lookAgain();
  }, LOOK_AGAIN);
  while (access.value.state === "asking") {
    try {
      await enter(null);
    } catch (error) {
      if (error instanceof Problem && error.status === 401) access.value = { state: "closed" };
      else await new Promise((resolve) => setTimeout(resolve, AGAIN));
    }
  }
}

/**
 * Signs in, or renews while signed in: the connection and all that the rooms show stay then.
 *
 * @throws Problem where the credential is refused; everything is as before.
 */
export async function signIn(token: string): Promise<void> {
  const before = credential.value;
  const same = before !== null && sameSubject(readClaims(before), readClaims(token));
  await enter(token, same && client.value !== null && client.value.status.state !== "closed");
}

/** Forgets the credential and everything that was fetched with it. */
export function signOut(): void {
  location.reload();
}

async function enter(token: string | null, keepConnection = false): Promise<void> {
  const told = await ask(token);
  // Without the right credential nothing is told; the reason is what any other call says.
  if (told.admin === null)
    throw token === null ? new Problem(401, "unauthenticated", "a credential is needed") : await whyNot(token);
  const { admin, subject, mask, grants } = told;
  batch(() => {
    credential.value = token;
    refusal.value = null;
    masks.value = mask ?? [];
    access.value = { state: "open", admin, subject, grants: grants ?? { subscribe: [], publish: [], consume: [] } };
  });
  if (!keepConnection) connect();
  else await client.value?.renew().catch(connect);
}

async function ask(token: string | null): Promise<Told> {
  const response = await reach(address("v1/console"), { headers: authorization(token) });
  if (!response.ok) throw await toProblem(response);
  const told = (await response.json()) as Told;
  batch(() => {
    version.value = told.version;
    asksForCredentials.value = told.authentication !== "none";
  });
  return told;
}

async function whyNot(token: string): Promise<Problem> {
  const response = await reach(address("v1/nodes"), { headers: authorization(token) });
  if (response.ok || response.status === 403)
    return new Problem(401, "unauthenticated", "the gateway does not take this credential");
  return await toProblem(response);
}

async function lookAgain(): Promise<void> {
  try {
    masks.value = (await ask(credential.value)).mask ?? masks.value;
  } catch {
    // The gateway is away, or wants another credential; others tell.
  }
}

function connect(): void {
  disconnect();
  // A function, so that a renewed credential is taken up in band; without one the gateway must not be asked to judge.
  const made =
    credential.value === null
      ? new Client("v1/ws")
      : new Client("v1/ws", { token: () => Promise.resolve(credential.value ?? "") });
  client.value = made;
  made.connect().catch(() => undefined); // the badge tells
}

function disconnect(): void {
  client.value?.close();
  client.value = null;
}

/** The claims of a JWT, unverified: they are for display and for the time of renewal, the gateway judges. */
export function readClaims(token: string | null): Claims | null {
  const payload = token?.split(".")[1];
  if (token === null || payload === undefined || token.split(".").length !== 3) return null;
  try {
    const bytes = Uint8Array.from(atob(payload.replace(/-/g, "+").replace(/_/g, "/")), (character) =>
      character.charCodeAt(0),
    );
    const told = JSON.parse(new TextDecoder().decode(bytes)) as { sub?: unknown; exp?: unknown };
    return {
      subject: typeof told.sub === "string" ? told.sub : null,
      expires: typeof told.exp === "number" ? told.exp * 1000 : null,
    };
  } catch {
    return null;
  }
}

function sameSubject(one: Claims | null, other: Claims | null): boolean {
  return one !== null && other !== null && one.subject === other.subject;
}
