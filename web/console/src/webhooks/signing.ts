/** Signing a delivery as its sender would, in the page: the secret goes nowhere else. */

export type Headers = Readonly<Record<string, string>>;
type Signer = (body: string, secret: string, now: number) => Promise<Headers>;

/** By scheme; others are signed by `gateway hooks test`, which knows them all. */
export const SIGNERS: Readonly<Record<string, Signer>> = {
  github: async (body, secret) => ({
    "x-hub-signature-256": `sha256=${hex(await hmac(utf8(secret), body))}`,
    "x-github-event": "push",
    "x-github-delivery": crypto.randomUUID(),
  }),
  gitea: async (body, secret) => ({
    "x-gitea-signature": hex(await hmac(utf8(secret), body)),
    "x-gitea-event": "push",
    "x-gitea-delivery": crypto.randomUUID(),
  }),
  shopify: async (body, secret) => ({
    "x-shopify-hmac-sha256": base64(await hmac(utf8(secret), body)),
    "x-shopify-topic": "orders/create",
    "x-shopify-webhook-id": crypto.randomUUID(),
  }),
  stripe: async (body, secret, now) => {
    const time = Math.floor(now / 1000);
    return { "stripe-signature": `t=${time},v1=${hex(await hmac(utf8(secret), `${time}.${body}`))}` };
  },
  standard: standard("webhook"),
  svix: standard("svix"),
};

/** Standard Webhooks: the secret is base64 behind `whsec_`. */
function standard(prefix: string): Signer {
  return async (body, secret, now) => {
    const id = `msg_${crypto.randomUUID()}`;
    const time = Math.floor(now / 1000);
    const key = Uint8Array.from(atob(secret.replace(/^whsec_/, "")), (character) => character.charCodeAt(0));
    const signature = base64(await hmac(key, `${id}.${time}.${body}`));
    return { [`${prefix}-id`]: id, [`${prefix}-timestamp`]: String(time), [`${prefix}-signature`]: `v1,${signature}` };
  };
}

async function hmac(secret: Uint8Array<ArrayBuffer>, text: string): Promise<Uint8Array> {
  // Browsers have it on secure pages only: https, or this machine.
  if (crypto.subtle === undefined) throw new Error("the browser signs on pages of https or of this machine only");
  const key = await crypto.subtle.importKey("raw", secret, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", key, utf8(text)));
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
