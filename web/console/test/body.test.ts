import { describe, expect, it } from "vitest";
import { bodyBytes, bodyKind, hexDump, pretty, preview } from "../src/ui/body.js";
import { size } from "../src/ui/format.js";
import { publishBody } from "../src/topics/publish_body.js";

describe("a body that arrived", () => {
  it("is JSON, text or binary", () => {
    expect(bodyKind({ a: 1 }, "application/json")).toBe("json");
    expect(bodyKind("a", undefined)).toBe("json");
    expect(bodyKind("a", "text/plain; charset=utf-8")).toBe("text");
    expect(bodyKind(new Uint8Array(), "image/png")).toBe("binary");
  });

  it("is previewed in one bounded line", () => {
    expect(preview({ a: "ä" }, "json")).toBe('{"a":"ä"}');
    expect(preview("x".repeat(1000), "text", 10)).toBe(`${"x".repeat(10)}…`);
    expect(preview(new Uint8Array(100), "binary")).toBe(`${new Array(24).fill("00").join(" ")} …`);
  });

  it("is shown in full: JSON indented, bytes as hex with what is printable", () => {
    expect(pretty({ a: 1 }, "json")).toBe('{\n  "a": 1\n}');
    expect(hexDump(new TextEncoder().encode("GIF89a\0\0abcdefghij"))).toBe(
      "000000  47 49 46 38 39 61 00 00 61 62 63 64 65 66 67 68  GIF89a..abcdefgh\n" +
        `000010  69 6a${" ".repeat(42)}  ij`,
    );
  });

  it("has its size in bytes", () => {
    expect(bodyBytes("ä", "text")).toBe(2);
    expect(bodyBytes("ä", "json")).toBe(4);
    expect([0, 1023, 1536, 3 * 1024 * 1024].map(size)).toEqual(["0 B", "1023 B", "1.5 KiB", "3 MiB"]);
  });
});

describe("a body to publish", () => {
  it("follows its content type", () => {
    expect(publishBody('{"a": 1}', "application/json; charset=utf-8", false)).toEqual({ a: 1 });
    expect(publishBody("1", "application/problem+json", false)).toBe(1);
    expect(publishBody("{", "text/plain", false)).toBe("{");
    expect(publishBody("ä", "application/octet-stream", false)).toEqual(new Uint8Array([0xc3, 0xa4]));
    expect(publishBody("AP8=\n", "image/png", true)).toEqual(new Uint8Array([0, 255]));
  });

  it("that is not what it says is refused in words", () => {
    expect(() => publishBody("{", "application/json", false)).toThrow("the body is not JSON");
    expect(() => publishBody("%", "image/png", true)).toThrow("the body is not base64");
  });
});
