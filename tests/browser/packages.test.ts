/** The libraries as npm would publish them: what is in them, whether they can be used, how large they are. */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { build } from "vite";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { inWeb } from "./pages.js";

const run = promisify(execFile);

/** Stated in the READMEs and in docs/browser.md, in bytes after gzip. */
const BUDGETS = { client: 14 * 1024, react: 2 * 1024 };
/** Stated in docs/console.md. */
const CONSOLE_BUDGET = 92 * 1024;

let directory: string;
const archives = new Map<string, string>();

function tool(name: string): string {
  return inWeb(`node_modules/.bin/${name}`);
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "gateway-packages-"));
  const scope = join(directory, "node_modules/@fanout-gateway");
  await mkdir(scope, { recursive: true });
  for (const name of ["client", "react"]) {
    // Which builds it first: what is packed is what the sources say now.
    const { stdout } = await run("npm", ["pack", "--json", "--silent", "--pack-destination", directory], { cwd: inWeb(name) });
    const [packed] = JSON.parse(stdout.slice(stdout.indexOf("["))) as { filename: string }[];
    const archive = join(directory, packed?.filename ?? "");
    archives.set(name, archive);
    await mkdir(join(scope, name));
    await run("tar", ["-xzf", archive, "-C", join(scope, name), "--strip-components=1"]);
  }
  for (const name of ["react", "@types"]) await symlink(inWeb(`node_modules/${name}`), join(directory, "node_modules", name));
});

afterAll(async () => {
  await rm(directory, { recursive: true, force: true });
});

describe.each(["client", "react"])("the package %s", (name) => {
  it("has its sources, its build, a README, and the project's licence, and nothing else", async () => {
    const { stdout } = await run("tar", ["-tzf", archives.get(name) ?? ""]);
    const files = stdout.trim().split("\n").map((path) => path.replace(/^package\//, ""));
    const own = files.filter((path) => !/^(dist|src)\//.test(path)).sort();
    expect(own).toEqual(["LICENSE", "README.md", "package.json"]);
    expect(files).toContain("dist/index.js");
    expect(files).toContain("dist/index.d.ts");
    expect(files.filter((path) => /test|config/.test(path))).toEqual([]);
    expect(await readFile(inWeb(`${name}/LICENSE`), "utf8")).toBe(await readFile(inWeb("../LICENSE"), "utf8"));
  });

  it("is right for publint, and its types are for every way of resolution", async () => {
    const archive = archives.get(name) ?? "";
    await run(tool("publint"), ["run", archive, "--strict"]);
    // A module of ES, for Node too: CommonJS has import().
    await run(tool("attw"), [archive, "--profile", "esm-only", "--no-emoji", "--no-color"]);
  });
});

it("Node imports both, and TypeScript checks a program that uses them", async () => {
  await writeFile(join(directory, "package.json"), `{"type": "module"}`);
  await writeFile(
    join(directory, "program.ts"),
    `import { Client, GatewayError, type Delivery } from "@fanout-gateway/client";
import { useTopic } from "@fanout-gateway/react";
interface Order { readonly total: number }
export async function main(): Promise<number> {
  const client = new Client("https://gateway.example");
  const orders = await client.subscribe<Order>("orders/#", { signal: AbortSignal.timeout(1) });
  for await (const { data } of orders) return data.total;
  const work = (delivery: Delivery<Order>): Promise<boolean> => delivery.ack();
  client.work<Order>("orders", { group: "billing" }, work);
  // @ts-expect-error: a total is no text
  for await (const { data } of client.consume<Order>("orders", { group: "billing" })) data.total.trim();
  throw new GatewayError("internal", String(client.state<Order>("a").getSnapshot().get("a")?.data.total));
}
export const Total = (): string => String(useTopic<Order>("orders/#").latest?.data.total);
`,
  );
  const options = { strict: true, noEmit: true, target: "ES2022", lib: ["ES2022", "DOM", "DOM.AsyncIterable"], types: [] };
  for (const [module, moduleResolution] of [["NodeNext", "NodeNext"], ["ESNext", "bundler"]]) {
    const config = { compilerOptions: { ...options, module, moduleResolution }, files: ["program.ts"] };
    await writeFile(join(directory, "tsconfig.json"), JSON.stringify(config));
    await run(tool("tsc"), ["-p", directory]).catch((failed: { stdout: string }) => expect.fail(failed.stdout));
  }
  const names = `const client = await import("@fanout-gateway/client"), react = await import("@fanout-gateway/react");
    console.log(JSON.stringify([Object.keys(client), Object.keys(react)]));`;
  const { stdout } = await run(process.execPath, ["--input-type=module", "-e", names], { cwd: directory });
  expect(JSON.parse(stdout)).toEqual([
    ["Client", "GatewayError", "filterProblem", "matches", "topicProblem"],
    ["GatewayProvider", "useClient", "useConnection", "useTopic", "useTopicState"],
  ]);
});

it("both are within their budgets", async () => {
  const script = await readFile(join(directory, "node_modules/@fanout-gateway/client/dist/fanout-gateway.min.js"));
  expect(gzipSync(script, { level: 9 }).length).toBeLessThan(BUDGETS.client);
  const outDir = join(directory, "react-bundle");
  await build({
    configFile: false,
    logLevel: "error",
    build: {
      outDir,
      lib: { entry: join(directory, "node_modules/@fanout-gateway/react/dist/index.js"), formats: ["es"], fileName: "react" },
      rollupOptions: { external: ["react", "@fanout-gateway/client"] },
      minify: true,
    },
  });
  const [file] = await readdir(outDir);
  expect(gzipSync(await readFile(join(outDir, file ?? "")), { level: 9 }).length).toBeLessThan(BUDGETS.react);
  for (const [name, bytes] of Object.entries(BUDGETS)) {
    const stated = `${bytes / 1024} KiB`;
    expect(await readFile(inWeb(`${name}/README.md`), "utf8")).toContain(stated);
    expect(await readFile(inWeb("../docs/browser.md"), "utf8")).toContain(stated);
  }
});

it("the console is within its budget", async () => {
  const assets = inWeb("../gateway/console/assets");
  const files = await Promise.all((await readdir(assets)).map((name) => readFile(join(assets, name))));
  const bytes = files.reduce((sum, file) => sum + gzipSync(file, { level: 9 }).length, 0);
  expect(bytes).toBeLessThan(CONSOLE_BUDGET);
  expect(await readFile(inWeb("../docs/console.md"), "utf8")).toContain(`${CONSOLE_BUDGET / 1024} KiB after gzip`);
});
