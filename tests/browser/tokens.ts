/** Tokens for a gateway whose settings have these lines. */
import { createHmac } from "node:crypto";

const SECRET = "a-secret-for-browser-tests-of-32-bytes";

export const AUTHENTICATION = `[auth]
mode = "required"
keys = [{ algorithm = "HS256", secret = "env:BROWSER_TEST_SECRET" }]
`;

// A gateway's settings name a secret; its process has it from here.
process.env["BROWSER_TEST_SECRET"] = SECRET;

/** A token of `subject` with these grants, that ends so many seconds from now. */
export function token(subject: string, grants: Readonly<Record<string, unknown>>, lives = 3600): string {
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claims = { sub: subject, exp: Math.ceil(Date.now() / 1000) + lives, gateway: grants };
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
}
