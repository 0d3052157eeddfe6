/**
 * The WebSocket address that `url` stands for: `ws:` and `wss:` as they are, `http:` and `https:` as their WebSocket
 * counterpart, a relative one from the page; without a path, the gateway's endpoint `/v1/ws`.
 */
export function socketAddress(url: string, page: string | undefined = globalThis.document?.baseURI): string {
  const address = new URL(url, page);
  if (address.protocol === "http:") address.protocol = "ws:";
  if (address.protocol === "https:") address.protocol = "wss:";
  if (address.protocol !== "ws:" && address.protocol !== "wss:") {
    throw new TypeError(`a gateway's address begins with ws, wss, http or https: ${url}`);
  }
  if (address.pathname === "/") address.pathname = "/v1/ws";
  address.hash = "";
  return address.href;
}
