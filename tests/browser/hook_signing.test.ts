/** What the console signs with a secret is taken for the sender's, whichever sender that is. */
import { readFile, readdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Declaration, type Sample, madeUp, signed, whyUnsigned } from "../../web/console/src/webhooks/signing.js";
import { call } from "./console_fixture.js";
import { GatewayProcess } from "./gateway_process.js";

const PRESETS = fileURLToPath(new URL("../../gateway/http_api/webhooks/presets/", import.meta.url));
const SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/** Any key of these kinds: nothing is signed with them. */
const PUBLIC_KEYS: Readonly<Record<string, string>> = {
  discord: "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
  discord_events: "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
};
/** Signed with a key pair, or by a certificate. */
const UNSIGNABLE = ["aws_sns", "discord", "discord_events", "sendgrid"];

let gateway: GatewayProcess;
let presets: string[];

beforeAll(async () => {
  process.env["HOOK_TEST_SECRET"] = SECRET;
  const names = (await readdir(PRESETS)).filter((name) => name.endsWith(".toml")).map((name) => name.slice(0, -5));
  presets = names;
  const tables = await Promise.all(
    names.map(async (name) => {
      const needs = /^needs = (.*)$/m.exec(await readFile(`${PRESETS}${name}.toml`, "utf8"))?.[1] ?? "";
      return [
        "[[hooks]]",
        `name = "${name}"`,
        `scheme = "${name}"`,
        needs.includes('"secret"') || name === "standard" ? 'secret = "env:HOOK_TEST_SECRET"' : "",
        needs.includes("public_key") ? `public_key = "${PUBLIC_KEYS[name] ?? sendgridKey()}"` : "",
        needs.includes("verify_token") ? 'verify_token = "env:HOOK_TEST_SECRET"' : "",
        needs.includes("require") ? 'require = [{"body.TopicArn" = "arn:aws:sns:eu-west-1:123456789012:orders"}]' : "",
      ].join("\n");
    }),
  );
  const plain = ["sha1", "sha512"].map(
    (algorithm) =>
      `[[hooks]]\nname = "${algorithm}"\nscheme = "hmac"\ntopic = "plain"\nheader = "X-Mac"\nalgorithm = "${algorithm}"\nencoding = "base64"\nsecret = "env:HOOK_TEST_SECRET"`,
  );
  presets = [...names, "sha1", "sha512"];
  gateway = await GatewayProcess.start([...tables, ...plain].join("\n"));
});

afterAll(async () => {
  await gateway?.stop();
});

it("each preset's delivery is published, and not with another secret", async () => {
  const refused: string[] = [];
  const unsigned: string[] = [];
  for (const name of presets) {
    const { declaration } = await call<{ declaration: Declaration }>(gateway, `hooks/${name}/declaration`);
    expect(JSON.stringify(declaration)).not.toContain(SECRET);
    if (whyUnsigned(declaration) !== null) {
      unsigned.push(name);
      continue;
    }
    const url = `${gateway.url}/v1/hooks/${name}`;
    const sample = madeUp(declaration);
    const right = await post(url, await signed(declaration, { url, ...sample }, SECRET, Date.now()));
    if (!right.ok) refused.push(`${name}: ${right.status} ${await right.text()}`);
    const other = SECRET.replace("MDEy", "MDEz");
    const wrong = await post(url, await signed(declaration, { url, ...sample }, other, Date.now()));
    expect([name, wrong.status]).toEqual([name, 401]);
    const { deliveries } = await call<{ deliveries: { verdict: string }[] }>(gateway, `hooks/${name}/deliveries`);
    expect([name, deliveries.map(({ verdict }) => verdict)]).toEqual([name, ["refused", "published"]]);
  }
  expect(refused).toEqual([]);
  expect(unsigned.sort()).toEqual(UNSIGNABLE);
});

it("a body of somebody's own stays as it is where nothing has to be put into it", async () => {
  const { declaration } = await call<{ declaration: Declaration }>(gateway, "hooks/github/declaration");
  const body = '{ "repository": {"full_name": "acme/shöp"},\n "n": 1.0 }';
  const url = `${gateway.url}/v1/hooks/github`;
  const sample = await signed(declaration, { url, body, headers: { "x-github-event": "push" } }, SECRET, Date.now());
  expect(sample.body).toBe(body);
  expect((await post(url, sample)).ok).toBe(true);
});

function sendgridKey(): string {
  return "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==";
}

async function post(url: string, { body, headers, query }: Sample): Promise<Response> {
  return await fetch(query === "" ? url : `${url}?${query}`, { method: "POST", body, headers });
}
