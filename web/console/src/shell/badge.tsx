import type { StateChange } from "@fanout-gateway/client";
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { client, now } from "../gateway/session.js";

const WORDS: Record<StateChange["state"], string> = {
  idle: "Not connected",
  connecting: "Connecting",
  connected: "Connected",
  reconnecting: "Reconnecting",
  closed: "Closed",
};
const IDLE: StateChange = { state: "idle", failures: 0, retryAt: null, error: null };

/** How the connection is, when the next attempt comes, and a way not to wait for it. */
export function Badge(): JSX.Element {
  const connection = client.value;
  const [status, setStatus] = useState(IDLE);
  useEffect(() => {
    setStatus(connection?.status ?? IDLE);
    const retry = (): void => connection?.retryNow();
    addEventListener("online", retry);
    const off = connection?.on("state", setStatus);
    return () => {
      off?.();
      removeEventListener("online", retry);
    };
  }, [connection]);
  const wait = status.retryAt === null ? null : Math.max(0, Math.ceil((status.retryAt - now.value) / 1000));
  return (
    <div class="badge" data-state={status.state} title={status.error?.reason ?? ""}>
      <span class="dot" />
      <span role="status">{WORDS[status.state]}</span>
      {/* Not part of the status: a screen reader would read out every second. */}
      {wait !== null && <span class="countdown">in {wait} s</span>}
      {wait !== null && (
        <button type="button" class="quiet" onClick={() => connection?.retryNow()}>
          Retry now
        </button>
      )}
    </div>
  );
}
