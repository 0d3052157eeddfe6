/**
 * Signing a delivery as its sender would, in the page: the secret goes nowhere else. It goes by what the gateway tells
 * of the hook, as `gateway hooks test` does (docs/webhooks.md, "A sender that has no preset").
 */
import { Draft, type Table, names } from "./draft.js";

/** `signed` of a hook: what is signed, how, and where the signature is. */
export interface Signed {
  readonly signature: string | readonly string[];
  readonly content: string;
  readonly algorithm: string;
  readonly encoding: "hex" | "base64";
  readonly separator: string;
  readonly prefix: string;
  readonly timestamp: string;
  readonly timestamp_format: "seconds" | "milliseconds" | "iso";
  readonly digest: string;
  readonly key_encoding: "text" | "base64" | "hex";
  readonly key_prefix: string;
  readonly when: Table;
}

/** What a hook is told to do, as far as a sender has to know. */
export interface Declaration {
  readonly topic: string;
  readonly id: string | readonly string[];
  readonly key: string;
  readonly data: string;
  readonly signed: Signed | readonly Signed[];
  readonly token: { readonly value: string; readonly prefix: string } | null;
  readonly require: readonly Table[];
  /** The hook's URL as its sender has it; "" where that is the gateway's own. */
  readonly public_url: string;
}

/** What is to be posted. */
export interface Sample {
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly query: string;
}

const IN_SIGNATURE = "signature.";
const HASHES: Readonly<Record<string, string>> = {
  "hmac-sha1": "SHA-1",
  "hmac-sha256": "SHA-256",
  "hmac-sha512": "SHA-512",
};

/** What the page does with a secret for this hook; a sentence where it can do nothing. */
export function whyUnsigned(declaration: Declaration): string | null {
  const schemes = schemesOf(declaration);
  if (schemes.length === 0 && declaration.token === null) return "Its sender signs nothing.";
  if (schemes.length > 0 && schemeOf(declaration) === undefined)
    return "Its sender signs with a key pair, of which only the sender has the private key. From here it goes unsigned.";
  return null;
}

/** A body and headers with something in every place that the hook reads. */
export function madeUp(declaration: Declaration): Sample {
  const scheme = schemeOf(declaration);
  const draft = new Draft({ url: "", body: "{}", headers: { "content-type": "application/json" }, inJson: true });
  const [id = ""] = typeof declaration.id === "string" ? [declaration.id] : declaration.id;
  const vouching = scheme === undefined ? [] : [...placesOf(scheme), scheme.timestamp];
  const { topic, key, data } = declaration;
  const places = [topic, key, data, id, scheme?.content ?? ""].flatMap(names);
  for (const place of places) if (!vouching.includes(place)) draft.put(place, "sample");
  for (const place of names(id)) if (!vouching.includes(place)) draft.put(place, crypto.randomUUID());
  for (const table of [scheme?.when ?? {}, ...declaration.require.slice(0, 1)]) draft.meet(table);
  return { ...draft.sample(), body: JSON.stringify(draft.value, null, 2) };
}

/**
 * The delivery as a sender makes it who has the secret.
 *
 * @throws Error it can't be made, in words.
 */
export async function signed(
  declaration: Declaration,
  given: { readonly url: string; readonly body: string; readonly headers: Readonly<Record<string, string>> },
  secret: string,
  now: number,
): Promise<Sample> {
  const scheme = schemeOf(declaration);
  const { token } = declaration;
  const isForm = scheme?.content.includes("{form|") === true;
  const written = [token?.value, ...(scheme === undefined ? [] : [...placesOf(scheme), scheme.timestamp])];
  const draft = new Draft({
    url: declaration.public_url || given.url,
    body: given.body,
    headers: isForm ? { ...given.headers, "content-type": "application/x-www-form-urlencoded" } : given.headers,
    // Where what vouches for it is in the body, its text can't stay as it is.
    inJson: isForm || written.some((place) => place?.startsWith("body.")),
    isForm,
  });
  for (const table of [scheme?.when ?? {}, ...declaration.require.slice(0, 1)]) draft.meet(table);
  if (token !== null) draft.put(token.value, token.prefix + secret);
  if (scheme !== undefined) await sign(draft, scheme, secret, now);
  return draft.sample();
}

async function sign(draft: Draft, scheme: Signed, secret: string, now: number): Promise<void> {
  const { timestamp: place, prefix, separator } = scheme;
  const time = place === "" ? null : inWriting(now, scheme.timestamp_format);
  const inSignature = place.startsWith(IN_SIGNATURE);
  if (time !== null && !inSignature) draft.put(place, time);
  if (scheme.digest !== "") draft.put(scheme.digest, hex(await sha256(draft.sample().body)));
  const content = draft.render(scheme.content, time);
  const mac = await hmac(HASHES[scheme.algorithm] ?? "", keyOf(scheme, secret), content);
  const signature = prefix + (scheme.encoding === "hex" ? hex(mac) : base64(mac));
  const items = inSignature ? [`${place.slice(IN_SIGNATURE.length)}=${time}`, signature] : [signature];
  draft.put(placesOf(scheme)[0] ?? "", items.join(separator));
}

function schemesOf({ signed }: Declaration): readonly Signed[] {
  return Array.isArray(signed) ? (signed as readonly Signed[]) : [signed as Signed];
}

/** The first way of signing that a shared secret is enough for. */
function schemeOf(declaration: Declaration): Signed | undefined {
  return schemesOf(declaration).find(({ algorithm }) => algorithm in HASHES);
}

function placesOf({ signature }: Signed): readonly string[] {
  return typeof signature === "string" ? [signature] : signature;
}

function inWriting(now: number, format: Signed["timestamp_format"]): string {
  if (format === "iso") return new Date(now).toISOString().replace(/\.\d+/, "");
  return String(format === "milliseconds" ? now : Math.floor(now / 1000));
}

function keyOf({ key_encoding: encoding, key_prefix: prefix }: Signed, secret: string): Uint8Array<ArrayBuffer> {
  const text = prefix !== "" && secret.startsWith(prefix) ? secret.slice(prefix.length) : secret;
  if (encoding === "text") return utf8(text);
  try {
    if (encoding === "base64") return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    if (/^([0-9a-f]{2})+$/i.test(text))
      return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
  } catch {
    // told below
  }
  throw new Error(`a secret of this scheme is ${encoding}${prefix === "" ? "" : `, with or without '${prefix}'`}`);
}

// Browsers have it on secure pages only: https, or this machine.
function webCrypto(): SubtleCrypto {
  if (crypto.subtle === undefined) throw new Error("the browser signs on pages of https or of this machine only");
  return crypto.subtle;
}

async function hmac(hash: string, secret: Uint8Array<ArrayBuffer>, text: string): Promise<Uint8Array> {
  const key = await webCrypto().importKey("raw", secret, { name: "HMAC", hash }, false, ["sign"]);
  return new Uint8Array(await webCrypto().sign("HMAC", key, utf8(text)));
}

async function sha256(text: string): Promise<Uint8Array> {
  return new Uint8Array(await webCrypto().digest("SHA-256", utf8(text)));
}

function utf8(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}

function hex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function base64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}
