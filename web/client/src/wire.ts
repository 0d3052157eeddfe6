/** Frames of the protocol `gateway.v1` as this library reads and writes them (docs/protocol.md). */
import { GatewayError } from "./errors.js";

export const SUBPROTOCOL = "gateway.v1";

/** What a subscription loses when the gateway can't get rid of its messages fast enough (docs/protocol.md, "Overflow"). */
export type Overflow = "spill" | "drop_oldest" | "drop_newest" | "latest" | "disconnect";

/** A publication as a subscriber gets it. `Data` is what the program expects as JSON; nobody checks it. */
export interface Message<Data = unknown> {
  readonly topic: string;
  readonly id: string;
  /** Milliseconds since 1970, UTC. */
  readonly time: number;
  /** The JSON value as published; a string for `text/*`; a `Uint8Array` for everything else; undefined where `deleted`. */
  readonly data: Data;
  readonly contentType?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly key?: string;
  /** The stream that stored it and its number there, unless its topic is live. */
  readonly stream?: string;
  readonly offset?: number;
  /** It has no data: its topic has no last value any more. */
  readonly deleted?: true;
  /** It is its topic's last value, of a subscription that began with a snapshot. */
  readonly snapshot?: true;
}

/** Messages that were lost, or that may have been. */
export interface Gap {
  /**
   * `overflow`, `trimmed`, `purged`, `epoch`, `bus`: told by the gateway. `reconnect`: live messages may have been published
   * while the connection was away; not told where streams were resumed in full. `buffer`: this program took its messages too slowly from the iterator.
   */
  readonly reason: "overflow" | "trimmed" | "purged" | "epoch" | "bus" | "reconnect" | "buffer" | (string & {});
  /** The subscription it belongs to; absent when it concerns the whole connection. */
  readonly filter?: string;
  /** How many messages; null when nobody knows. */
  readonly dropped: number | null;
  readonly stream?: string;
  /** The missing offsets, both included. */
  readonly from?: number;
  readonly to?: number;
  /** With `epoch`: the stream's new one, and the last offset in it before what comes next. */
  readonly epoch?: string;
  readonly offset?: number;
}

/** The gateway's word that it will close this connection, and when to come back. */
export interface GoAway {
  readonly reason: string;
  /** Milliseconds. */
  readonly retryAfter: number;
}

/** A frame from the gateway, of any op; unknown ones are ignored, so that the protocol may grow. */
export interface ServerFrame {
  readonly op: string;
  readonly ref?: string | number | null;
  readonly [field: string]: unknown;
}

/** A command without its `ref`. */
export interface CommandFrame {
  readonly op: string;
  readonly [field: string]: unknown;
}

/** Reads one frame; throws `GatewayError` if it isn't one. */
export function decodeFrame(text: unknown): ServerFrame {
  if (typeof text !== "string") throw new GatewayError("bad_frame", "the gateway sent a binary frame");
  let frame: unknown;
  try {
    frame = JSON.parse(text);
  } catch {
    throw new GatewayError("bad_frame", "the gateway sent a frame that is not JSON");
  }
  if (typeof frame !== "object" || frame === null || typeof (frame as ServerFrame).op !== "string") {
    throw new GatewayError("bad_frame", "the gateway sent a frame without an op");
  }
  return frame as ServerFrame;
}

/** The message that a frame of op `message` carries. */
export function toMessage(frame: ServerFrame): Message {
  const binary = frame["data_base64"];
  return {
    topic: frame["topic"] as string,
    id: frame["id"] as string,
    time: frame["time"] as number,
    data: typeof binary === "string" ? fromBase64(binary) : frame["data"],
    ...present("contentType", frame["content_type"]),
    ...present("headers", frame["headers"]),
    ...present("key", frame["key"]),
    ...present("stream", frame["stream"]),
    ...present("offset", frame["offset"]),
    ...present("deleted", frame["deleted"] === true ? true : undefined),
    ...present("snapshot", frame["snapshot"] === true ? true : undefined),
  };
}

/** The gap that a frame of op `gap` tells. */
export function toGap(frame: ServerFrame): Gap {
  return {
    reason: String(frame["reason"]),
    dropped: typeof frame["dropped"] === "number" ? frame["dropped"] : null,
    ...present("filter", frame["filter"]),
    ...present("stream", frame["stream"]),
    ...present("from", frame["from"]),
    ...present("to", frame["to"]),
    ...present("epoch", frame["epoch"]),
    ...present("offset", frame["offset"]),
  };
}

/** What a frame of op `delivery` says besides the message: the lease on it. */
export interface LeaseFields {
  readonly token: string;
  readonly group: string;
  readonly attempt: number;
  readonly deadline: number;
  readonly fence: number;
}

export function toLease(frame: ServerFrame): LeaseFields {
  return {
    token: frame["delivery"] as string,
    group: frame["group"] as string,
    attempt: frame["attempt"] as number,
    deadline: frame["deadline"] as number,
    fence: frame["fence"] as number,
  };
}

/** `{[name]: value}`, or nothing to spread where there is no value. */
export function present(name: string, value: unknown): Record<string, never> {
  return (value === undefined || value === null ? {} : { [name]: value }) as Record<string, never>;
}

export function toBase64(bytes: Uint8Array): string {
  let text = "";
  // String.fromCharCode takes its bytes as arguments, whose number engines bound.
  for (let start = 0; start < bytes.length; start += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
  }
  return btoa(text);
}

export function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
