import type { GatewayError } from "./errors.js";
import type { GoAway, Gap, Message } from "./wire.js";

/**
 * `idle`: made, not yet asked to connect. `connecting`: the first time. `connected`. `reconnecting`: the connection
 * was lost; it waits or tries. `closed`: for good, by the program or because trying again would not help.
 */
export type ClientState = "idle" | "connecting" | "connected" | "reconnecting" | "closed";

export interface StateChange {
  readonly state: ClientState;
  /** How many attempts have failed since the last stable connection. */
  readonly failures: number;
  /** When the next attempt begins, in milliseconds since 1970; null when none is waited for. */
  readonly retryAt: number | null;
  /** Why the connection was lost or closed. */
  readonly error: GatewayError | null;
}

/** What a client tells its listeners; see `Client.on`. */
export interface ClientEvents {
  state: StateChange;
  /** Every message once, however many subscriptions match it. */
  message: Message;
  /** Every gap, of any subscription and of the whole connection. */
  gap: Gap;
  /** Refusals that belong to no call: of a publish without `ack`, of a filter when subscribing again, of a token. */
  error: GatewayError;
  goaway: GoAway;
}
