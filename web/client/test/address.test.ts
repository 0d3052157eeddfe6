import { expect, it } from "vitest";
import { socketAddress } from "../src/address.js";
import { Client } from "../src/index.js";

// The same table stands in tests/unit/client/test_address.py: one rule for both libraries.
it.each([
  ["http://gateway.example", "ws://gateway.example/v1/ws"],
  ["https://gateway.example/", "wss://gateway.example/v1/ws"],
  ["https://gateway.example/realtime", "wss://gateway.example/realtime/v1/ws"],
  ["https://gateway.example/realtime/", "wss://gateway.example/realtime/v1/ws"],
  ["https://gateway.example/realtime/v1/ws", "wss://gateway.example/realtime/v1/ws"],
  ["ws://gateway.example", "ws://gateway.example/v1/ws"],
  ["wss://gateway.example/other", "wss://gateway.example/other"],
  ["wss://gateway.example:8443?tenant=a", "wss://gateway.example:8443/v1/ws?tenant=a"],
])("%s is %s", (url, address) => {
  expect(socketAddress(url, undefined)).toBe(address);
});

it.each([
  ["/", "wss://app.example/v1/ws"],
  ["", "wss://app.example/orders/v1/ws"],
  ["/realtime", "wss://app.example/realtime/v1/ws"],
  ["v1/ws", "wss://app.example/orders/v1/ws"],
  ["/v1/ws", "wss://app.example/v1/ws"],
  ["//gateway.example", "wss://gateway.example/v1/ws"],
])("relative to a page, %j is %s", (url, address) => {
  expect(socketAddress(url, "https://app.example/orders/")).toBe(address);
});

it.each(["ftp://gateway.example", "https://user:secret@gateway.example", "https://gateway.example/#part", "http://"])(
  "%s is refused, and no secret repeated",
  (url) => {
    expect(() => new Client(url)).toThrow(TypeError);
    expect(() => new Client(url)).not.toThrow(/secret/);
  },
);

it("a relative one waits for the page: on a server a client can be made, but not connected", async () => {
  const client = new Client("/v1/ws");
  expect(client.status.state).toBe("idle");
  await expect(client.connect()).rejects.toBeInstanceOf(TypeError);
  await expect(client.subscribe("a")).rejects.toBeInstanceOf(TypeError);
  expect(client.status.state).toBe("idle");
});
