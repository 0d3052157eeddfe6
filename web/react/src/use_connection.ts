import type { StateChange } from "@fanout-gateway/client";
import { useCallback, useMemo, useSyncExternalStore } from "react";
import { useClient } from "./provider.js";

export interface ConnectionView extends StateChange {
  /** While waiting to reconnect: tries now. */
  readonly retryNow: () => void;
}

const IDLE: StateChange = Object.freeze({ state: "idle", failures: 0, retryAt: null, error: null });

/** Whether the client is connected, with the circumstances; it is asked to connect if it has not been. */
export function useConnection(): ConnectionView {
  const client = useClient();
  const listen = useCallback(
    (listener: () => void): (() => void) => {
      const stop = client.on("state", listener);
      client.connect({ timeout: Infinity }).catch(() => undefined); // what became of it is shown
      return stop;
    },
    [client],
  );
  const status = useSyncExternalStore(listen, () => client.status, () => IDLE);
  return useMemo(() => ({ ...status, retryNow: () => client.retryNow() }), [client, status]);
}
