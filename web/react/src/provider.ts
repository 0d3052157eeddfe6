import { Client, type ClientOptions } from "@fanout-gateway/client";
import { type ReactElement, type ReactNode, createContext, createElement, useContext, useEffect, useRef, useState } from "react";

/** Either a client of yours, which you close yourself, or where to connect one. */
export type GatewayProviderProps = {
  readonly children?: ReactNode;
} & (
  | { readonly client: Client; readonly url?: never; readonly options?: never }
  | { readonly url: string; readonly options?: ClientOptions; readonly client?: never }
);

const ClientContext = createContext<Client | null>(null);

/**
 * Gives all components below it one client: yours, or one made for `url`, which is closed when the provider goes. `url`
 * and `options` are looked at once; give the provider a `key` to begin anew.
 */
export function GatewayProvider(props: GatewayProviderProps): ReactElement {
  const [made] = useState(() => (props.client === undefined ? new Client(props.url, props.options) : null));
  const closing = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  useEffect(() => {
    clearTimeout(closing.current);
    // In strict mode an effect ends and begins again at once, and what was closed stays closed.
    return () => void (closing.current = setTimeout(() => made?.close(), 0));
  }, [made]);
  return createElement(ClientContext.Provider, { value: props.client ?? made }, props.children);
}

/** The client of the nearest `GatewayProvider`; throws where there is none. */
export function useClient(): Client {
  const client = useContext(ClientContext);
  if (client === null) throw new Error("there is no GatewayProvider above this component");
  return client;
}
