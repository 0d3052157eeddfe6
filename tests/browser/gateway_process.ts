/** A real gateway in a process of its own, to be killed and started again. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll } from "vitest";

const INSTALLED = fileURLToPath(new URL("../../.venv/bin/gateway", import.meta.url));
const START_MILLISECONDS = 60_000;
const FIRST_PORT = 30_000;
const PORTS = 2_700;

/** Those of this file's tests that have not been stopped. */
const started = new Set<GatewayProcess>();

// A test or a hook that fails does not come to its own stop.
afterAll(async () => {
  await Promise.all([...started].map((gateway) => gateway.stop()));
});

/** An application with a gateway mounted in it: its module and name, where it lies, and the mount. */
export interface Application {
  readonly app: string;
  readonly path: string;
  readonly mount: string;
}

export class GatewayProcess {
  #child: ChildProcess | null = null;
  /** Told to end, and not seen to have done so. */
  #ending: ChildProcess | null = null;
  #output = "";

  private constructor(
    readonly port: number,
    private readonly directory: string,
    private readonly application: Application | null,
  ) {}

  /** Starts a gateway on a free port, in an empty directory, with these settings (TOML) and no others. */
  static async start(settings = "", application: Application | null = null): Promise<GatewayProcess> {
    const directory = await mkdtemp(join(tmpdir(), "gateway-browser-"));
    const gateway = new GatewayProcess(await freePort(), directory, application);
    started.add(gateway);
    await writeFile(join(gateway.directory, "gateway.toml"), settings);
    await gateway.run();
    return gateway;
  }

  /** Where its settings are, and its data. */
  get home(): string {
    return this.directory;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Runs it, on the same port as before; returns once it is ready. */
  async run(): Promise<void> {
    const [program = INSTALLED, ...first] = (process.env["GATEWAY_COMMAND"] ?? INSTALLED).split(" ");
    const serve = ["serve", "--port", String(this.port)];
    if (this.application !== null) serve.push("--app", this.application.app);
    const child = spawn(program, [...first, ...serve], {
      cwd: this.directory,
      env: {
        ...process.env,
        GATEWAY_CONFIG: join(this.directory, "gateway.toml"),
        PYTHONPATH: this.application?.path ?? process.env["PYTHONPATH"],
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    let failure: Error | null = null;
    child.once("error", (error) => (failure = error));
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (text: Buffer) => (this.#output = (this.#output + text.toString()).slice(-5000)));
    }
    const deadline = Date.now() + START_MILLISECONDS;
    while (!(await this.#ready())) {
      if (failure !== null || child.exitCode !== null || Date.now() > deadline) {
        throw new Error(`the gateway did not start: ${failure ?? ""}\n${this.#output}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Has it drain: SIGTERM. Returns at once; the promise's result is kept once it has ended. */
  terminate(): { readonly ended: Promise<unknown> } {
    const child = this.#child;
    this.#child = null;
    if (child === null) throw new Error("the gateway is not running");
    const ended = once(child, "exit");
    this.#ending = child;
    child.kill("SIGTERM");
    return { ended };
  }

  /** Waits until it has ended by itself, as a drain has it do. */
  async ended(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    this.#ending = child;
    if (child !== null && runs(child)) await once(child, "exit");
  }

  /** Takes it away without a word: SIGKILL. */
  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    await killed(child);
  }

  /** Kills it, also one that drains, and removes its directory. */
  async stop(): Promise<void> {
    started.delete(this);
    await Promise.all([this.kill(), killed(this.#ending)]);
    await rm(this.directory, { recursive: true, force: true });
  }

  /** Publishes over HTTP, as curl would. */
  async publish(
    topic: string,
    body: string | Uint8Array<ArrayBuffer>,
    contentType = "application/json",
  ): Promise<void> {
    await this.#post(`/v1/topics/${topic}`, body, contentType);
  }

  /** Publishes many at once. */
  async publishAll(items: readonly { topic: string; data: unknown }[]): Promise<void> {
    await this.#post("/v1/publish", JSON.stringify(items), "application/json");
  }

  async #post(path: string, body: string | Uint8Array<ArrayBuffer>, contentType: string): Promise<void> {
    const answer = await fetch(this.url + path, { method: "POST", headers: { "content-type": contentType }, body });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    await answer.arrayBuffer();
  }

  async #ready(): Promise<boolean> {
    try {
      return (await fetch(`${this.url}${this.application?.mount ?? ""}/readyz`)).ok;
    } catch {
      return false;
    }
  }
}

/** Whether it has not ended. */
export function runs(child: ChildProcess): boolean {
  return child.pid !== undefined && child.exitCode === null && child.signalCode === null;
}

/** Ends it with SIGKILL, if it has not ended. */
export async function killed(child: ChildProcess | null): Promise<void> {
  if (child === null || !runs(child)) return;
  const gone = once(child, "exit");
  child.kill("SIGKILL");
  await gone;
}

/**
 * A port for as long as the gateway is there, down or up: below those that systems give out by themselves, and above
 * those of tests/ports.py.
 */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < PORTS; tries += 1) {
    const port = FIRST_PORT + Math.floor(Math.random() * PORTS);
    const server = createServer().listen(port, "127.0.0.1");
    const free = await once(server, "listening").then(
      () => true,
      () => false,
    );
    if (!free) continue;
    server.close();
    await once(server, "close");
    return port;
  }
  throw new Error("no free port");
}
