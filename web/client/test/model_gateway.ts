import { matches } from "../src/index.js";
import type { ScriptedSocket } from "./scripted_socket.js";
import { ScriptedGateway, answerLikeTheGateway, message } from "./scripted_socket.js";

type Frame = Record<string, unknown>;

/** One subscription at the gateway: what it reads before it is live. */
interface Subscribed {
  readonly snapshot: Frame[];
  after: number;
  live: boolean;
}

/** One stream, `orders`, that a connection's subscriptions read and follow as docs/protocol.md has it ("History"). */
export class ModelGateway {
  readonly scripted = new ScriptedGateway();
  readonly log: Frame[] = [];
  #socket: ScriptedSocket | null = null;
  #subscriptions = new Map<string, Subscribed>();

  constructor() {
    this.scripted.answer = (command) => {
      if (this.#socket !== this.scripted.last) this.#subscriptions = new Map();
      this.#socket = this.scripted.last;
      if (command["op"] === "subscribe") return this.#subscribe(command);
      if (command["op"] === "unsubscribe") this.#subscriptions.delete(String(command["filter"]));
      return answerLikeTheGateway(command);
    };
  }

  get end(): number {
    return this.log.length;
  }

  get reading(): boolean {
    return [...this.#subscriptions.values()].some(({ live }) => !live);
  }

  publish(topic: string): void {
    const offset = this.end + 1;
    const frame = message(topic, offset, { stream: "orders", offset });
    this.log.push(frame);
    if ([...this.#subscriptions].some(([filter, { live }]) => live && matches(filter, topic))) this.#socket?.push(frame);
  }

  /** Gives each subscription that reads its next frame. */
  step(): void {
    for (const [filter, subscription] of this.#subscriptions) {
      if (subscription.live) continue;
      const snapshot = subscription.snapshot.shift();
      if (snapshot !== undefined) {
        this.#socket?.push({ ...snapshot, filter, snapshot: true });
      } else if (subscription.after < this.end) {
        const frame = this.log[subscription.after] as Frame;
        subscription.after += 1;
        if (matches(filter, String(frame["topic"]))) this.#socket?.push({ ...frame, filter });
      } else {
        subscription.live = true;
        this.#socket?.push({ op: "caught_up", filter });
      }
    }
  }

  #subscribe(command: Frame): Frame {
    const { from, resume } = command as { from?: string | { last: number }; resume?: { orders?: { offset: number } } };
    const filter = String(command["filter"]);
    const matching = this.log.filter((frame) => matches(filter, String(frame["topic"])));
    let after = this.end;
    let snapshot: Frame[] = [];
    if (resume?.orders !== undefined) after = resume.orders.offset;
    else if (from === "earliest") after = 0;
    else if (from === "snapshot") snapshot = [...new Map(matching.map((frame) => [frame["topic"], frame])).values()];
    else if (typeof from === "object") after = Number(matching.at(-from.last)?.["offset"] ?? 1) - 1;
    const live = resume === undefined && from === undefined;
    this.#subscriptions.set(filter, { snapshot, after, live });
    const recovered = resume === undefined ? null : true;
    return { op: "subscribed", filter, positions: { orders: { epoch: "e1", offset: after } }, recovered };
  }
}
