const PATH = "/v1/ws";

/**
 * The WebSocket address that `url` stands for, by the one rule of all client libraries (docs/client.md, "Addresses"):
 * an HTTP address is the gateway's base, below which `/v1/ws` is, unless it ends with that; a WebSocket address with
 * a path is taken as it is. A relative one is an HTTP address as seen from `base`, by default the page or the worker.
 * Null for a relative one where there is neither.
 *
 * @throws TypeError another scheme, a fragment, credentials, or no address at all.
 */
export function socketAddress(url: string, base: string | undefined = pageAddress()): string | null {
  const absolute = /^[a-z][a-z0-9+.-]*:/i.test(url);
  if (!absolute && base === undefined) return null;
  const address = new URL(url, absolute ? undefined : base);
  const { protocol } = address;
  if (!/^(ws|http)s?:$/.test(protocol)) {
    throw new TypeError(`a gateway's address begins with ws, wss, http or https: ${url}`);
  }
  // Not repeated in the message: it would put the secret into logs.
  if (address.username !== "" || address.password !== "") {
    throw new TypeError("a gateway's address has no credentials in it: give them as the option token");
  }
  if (address.hash !== "") throw new TypeError(`a gateway's address has no fragment: ${url}`);
  const path = address.pathname.replace(/\/+$/, "");
  const asItIs = path.endsWith(PATH) || (protocol.startsWith("ws") && path !== "");
  if (!asItIs) address.pathname = path + PATH;
  address.protocol = protocol.replace("http", "ws");
  return address.href;
}

function pageAddress(): string | undefined {
  const { document, location } = globalThis as { document?: Document; location?: Location };
  if (document?.baseURI !== undefined) return document.baseURI;
  if (location === undefined) return undefined;
  // A worker made from a blob has an address to which nothing is relative, and its page's origin.
  return location.protocol === "blob:" ? location.origin : location.href;
}
