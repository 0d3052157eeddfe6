import type { WebSocketLike } from "../src/connection.js";

type Frame = Record<string, unknown>;

/**
 * A gateway that does what a test says: the real one cannot lose a connection, refuse or stay silent on demand.
 * Sockets come up in `sockets` in the order in which the client opened them.
 */
export class ScriptedGateway {
  readonly sockets: ScriptedSocket[] = [];
  /** Answers a command as the gateway would; null: no answer. */
  answer: (command: Frame) => Frame | null = answerLikeTheGateway;
  /** Whether new sockets get as far as the welcome. */
  reachable = true;
  /** Whether a connection that could not be made ends with a close event, as browsers have it. */
  closesAfterError = true;
  readonly WebSocket: new (url: string) => WebSocketLike;

  constructor() {
    const gateway = this;
    this.WebSocket = class extends ScriptedSocket {
      constructor(url: string) {
        super(url, gateway);
      }
    };
  }

  get last(): ScriptedSocket {
    const socket = this.sockets.at(-1);
    if (socket === undefined) throw new Error("no socket was opened");
    return socket;
  }
}

export class ScriptedSocket implements WebSocketLike {
  readyState = 0;
  bufferedAmount = 0;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  onerror: (() => void) | null = null;
  readonly sent: Frame[] = [];

  constructor(
    readonly url: string,
    private readonly gateway: ScriptedGateway,
  ) {
    gateway.sockets.push(this);
    queueMicrotask(() => (gateway.reachable ? this.#welcome() : this.#refuse()));
  }

  send(data: string): void {
    const command = JSON.parse(data) as Frame;
    this.sent.push(command);
    const reply = this.gateway.answer(command);
    if (reply !== null) queueMicrotask(() => this.push("ref" in command ? { ref: command["ref"], ...reply } : reply));
  }

  /** The gateway sends `frame`. */
  push(frame: Frame): void {
    if (this.readyState === 1) this.onmessage?.({ data: JSON.stringify(frame) });
  }

  /** The connection ends with `code`. */
  fail(code: number): void {
    this.readyState = 3;
    this.onclose?.({ code, reason: "" });
  }

  close(): void {
    this.readyState = 3;
  }

  /** The commands of one op, in order. */
  commands(op: string): Frame[] {
    return this.sent.filter((command) => command["op"] === op);
  }

  #refuse(): void {
    this.readyState = 3;
    this.onerror?.();
    if (this.gateway.closesAfterError) this.fail(1006);
  }

  #welcome(): void {
    this.readyState = 1;
    this.push({ op: "welcome", session: "s", node: "n", protocol: "gateway.v1", authenticated: true, limits: {} });
  }
}

export function answerLikeTheGateway(command: Frame): Frame | null {
  switch (command["op"]) {
    case "auth":
      return { op: "authenticated", subject: "tester", expires: null };
    case "subscribe":
      return { op: "subscribed", filter: command["filter"], positions: {}, recovered: null };
    case "unsubscribe":
      return { op: "unsubscribed", filter: command["filter"] };
    case "publish":
      return "ref" in command ? { op: "published", id: command["id"] ?? "made" } : null;
    case "consume":
      return { op: "consuming", stream: command["stream"], group: command["group"], credit: command["credit"] ?? 32 };
    case "release":
      return { op: "released", stream: command["stream"], group: command["group"] };
    case "ack":
    case "nack":
    case "extend":
      return { op: "acked", deliveries: command["deliveries"], stale: [] };
    case "ping":
      return { op: "pong" };
    default:
      return { op: "error", code: "bad_command", reason: "unknown op", fatal: false };
  }
}

export function message(topic: string, data: unknown, fields: Frame = {}): Frame {
  return { op: "message", topic, id: `id-${String(data)}`, time: 1, data, ...fields };
}

/** A delivery of the group `orders/billing`, whose lease ends in 30 s; its token is `token-` and the data. */
export function delivery(data: unknown, fields: Frame = {}): Frame {
  return {
    ...message("orders/eu", data),
    op: "delivery",
    delivery: `token-${String(data)}`,
    stream: "orders",
    offset: data,
    group: "billing",
    attempt: 1,
    deadline: Date.now() + 30_000,
    fence: data,
    ...fields,
  };
}
