/** What a tab and the worker that has the socket say to each other, besides frames of the protocol, which are strings. */

/** Asks for a socket; its port comes along. */
export interface OpenRequest {
  readonly url: string;
  /** Tabs of one identity share a socket; others never do. */
  readonly identity: string;
  /** Whether the tab has a token to give when it is asked. */
  readonly token: boolean;
}

/** Of the tab. `taken`: so many more frames were dealt with. `alive`: it is there. `token`: the answer to `wanted`. */
export type FromTab =
  | string
  | { readonly type: "close" | "alive" }
  | { readonly type: "taken"; readonly count: number }
  | { readonly type: "token"; readonly token: string }
  | { readonly type: "no-token"; readonly reason: string };

/** Of the worker. */
export type FromWorker =
  | string
  | { readonly type: "wanted" }
  | { readonly type: "closed"; readonly code: number; readonly reason: string };

/** A tab tells that it is there so often, in milliseconds; one that was not heard of for so long is taken for gone. */
export const ALIVE_EVERY = 20_000;
export const GONE_AFTER = 180_000;
/** After so many frames a tab tells that it has taken them; one that owes more than so many is let go. */
export const TAKEN_EVERY = 256;
export const MOST_OUTSTANDING = 20_000;
