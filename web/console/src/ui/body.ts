/** A message's body in forms that a person can read. */

const utf8 = new TextEncoder();

export type BodyKind = "json" | "text" | "binary";

export function bodyKind(data: unknown, contentType: string | undefined): BodyKind {
  if (data instanceof Uint8Array) return "binary";
  return typeof data === "string" && contentType?.toLowerCase().startsWith("text/") === true ? "text" : "json";
}

/** Bytes of the body: exact for text and binary, of the compact form for JSON. */
export function bodyBytes(data: unknown, kind: BodyKind): number {
  if (data instanceof Uint8Array) return data.length;
  return utf8.encode(kind === "text" ? (data as string) : JSON.stringify(data)).length;
}

/** One line, at most `length` characters. */
export function preview(data: unknown, kind: BodyKind, length = 160): string {
  if (data instanceof Uint8Array) return hex(data.subarray(0, 24)) + (data.length > 24 ? " …" : "");
  const text = kind === "text" ? (data as string) : JSON.stringify(data);
  return text.length > length ? `${text.slice(0, length)}…` : text;
}

/** The whole body over several lines. */
export function pretty(data: unknown, kind: BodyKind): string {
  if (data instanceof Uint8Array) return hexDump(data);
  return kind === "text" ? (data as string) : JSON.stringify(data, null, 2);
}

/** Sixteen bytes a line: offset, bytes, and what of them is printable ASCII. */
export function hexDump(bytes: Uint8Array): string {
  const lines: string[] = [];
  for (let offset = 0; offset < bytes.length; offset += 16) {
    const line = bytes.subarray(offset, offset + 16);
    const printable = [...line].map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "."));
    lines.push(`${offset.toString(16).padStart(6, "0")}  ${hex(line).padEnd(47)}  ${printable.join("")}`);
  }
  return lines.join("\n");
}

function hex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
}
