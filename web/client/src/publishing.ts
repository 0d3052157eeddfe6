import { type CommandFrame, present, toBase64 } from "./wire.js";

export interface PublishOptions {
  /** What `data` is; without it JSON is meant, or bytes for a `Uint8Array`. */
  readonly contentType?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** A label for the message, echoed to its subscribers; made by the gateway if absent. */
  readonly id?: string;
  /** Makes it safe to publish again after `timeout` or `unavailable` (docs/protocol.md, "publish"). */
  readonly idempotencyKey?: string;
  /** For ordering in consumer groups. */
  readonly key?: string;
  /** Consumer groups see it so many milliseconds later; subscribers get it at once. Only where a stream captures the topic. */
  readonly delay?: number;
  /** Whether to wait for the gateway's answer. Without it a refusal is an `error` event. Default true. */
  readonly ack?: boolean;
}

/** As with a publish; there is just no data to speak of. */
export type DeleteOptions = Omit<PublishOptions, "contentType">;

/** The gateway's answer to a publish: the message's id, and its place where a stream stored it. */
export interface Receipt {
  readonly id: string;
  readonly stream?: string;
  readonly offset?: number;
}

/** The `publish` command; throws `TypeError` where `data` has no JSON form. */
export function publishCommand(topic: string, data: unknown, options: PublishOptions): CommandFrame {
  return {
    op: "publish",
    topic,
    ...body(data),
    ...present("content_type", options.contentType),
    ...labels(options),
  };
}

/** The `publish` command that ends a topic's last value. */
export function deleteCommand(topic: string, options: DeleteOptions): CommandFrame {
  return { op: "publish", topic, deleted: true, ...labels(options) };
}

function labels(options: DeleteOptions): Record<string, unknown> {
  return {
    ...present("headers", options.headers),
    ...present("id", options.id),
    ...present("idempotency_key", options.idempotencyKey),
    ...present("key", options.key),
    ...present("delay", options.delay),
  };
}

function body(data: unknown): Record<string, unknown> {
  if (data instanceof Uint8Array) return { data_base64: toBase64(data) };
  if (data instanceof ArrayBuffer) return { data_base64: toBase64(new Uint8Array(data)) };
  // JSON.stringify leaves such a member out, which would publish nothing instead of failing here.
  if (data === undefined || typeof data === "function" || typeof data === "symbol") {
    throw new TypeError(`a message can't be ${typeof data}`);
  }
  return { data };
}
