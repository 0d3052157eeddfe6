/** What the publish form's text becomes. */

/** The value to publish for `text` under `contentType`; throws an `Error` in words for a person. */
export function publishBody(text: string, contentType: string, base64: boolean): unknown {
  const type = (contentType.split(";")[0] ?? "").trim().toLowerCase();
  if (base64) return fromBase64(text);
  if (type === "application/json" || type.endsWith("+json")) return fromJson(text);
  if (type.startsWith("text/")) return text;
  return new TextEncoder().encode(text);
}

function fromJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`the body is not JSON: ${(error as Error).message}`);
  }
}

function fromBase64(text: string): Uint8Array {
  try {
    return Uint8Array.from(atob(text.replace(/\s/g, "")), (character) => character.charCodeAt(0));
  } catch {
    throw new Error("the body is not base64");
  }
}
