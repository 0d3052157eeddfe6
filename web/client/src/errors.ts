/** Every way a command or a connection can fail, as the gateway's own codes and two of this library. */
export type ErrorCode =
  | "bad_frame"
  | "bad_command"
  | "bad_topic"
  | "bad_filter"
  | "unauthenticated"
  | "token_expired"
  | "forbidden"
  | "not_found"
  | "too_large"
  | "too_many"
  | "rate_limited"
  | "conflict"
  | "unavailable"
  | "internal"
  /** No reply came within the command timeout; the command may have been carried out. */
  | "timeout"
  /** The client was closed. */
  | "closed"
  // A newer gateway may know more of them.
  | (string & {});

const RETRYABLE: ReadonlySet<string> = new Set(["unavailable", "rate_limited", "too_many", "timeout"]);

/** A refusal by the gateway, or the failure to reach it. `code` is stable, `reason` is for people. */
export class GatewayError extends Error {
  override readonly name = "GatewayError";

  constructor(
    readonly code: ErrorCode,
    readonly reason: string,
  ) {
    super(`${code}: ${reason}`);
  }

  /** Whether the same command may succeed later. */
  get retryable(): boolean {
    return RETRYABLE.has(this.code);
  }
}

/** Any thrown value as a `GatewayError`. */
export function toGatewayError(thrown: unknown, code: ErrorCode): GatewayError {
  if (thrown instanceof GatewayError) return thrown;
  return new GatewayError(code, thrown instanceof Error ? thrown.message : String(thrown));
}
