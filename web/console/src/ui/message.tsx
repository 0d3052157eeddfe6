/** One message in full. */
import type { ComponentChildren, JSX } from "preact";
import { masked } from "../gateway/mask.js";
import { bodyBytes, bodyKind, pretty, preview } from "./body.js";
import { size } from "./format.js";
import { Copy, Facts } from "./parts.js";

/** What the library and the HTTP API both tell of a message. */
export interface Shown {
  readonly topic: string;
  readonly id?: string | undefined;
  readonly time?: number | undefined;
  readonly data: unknown;
  readonly contentType?: string | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly key?: string | undefined;
  readonly stream?: string | undefined;
  readonly offset?: number | undefined;
  readonly deleted?: boolean | undefined;
}

/** A message as the HTTP API gives it. */
export interface WireMessage {
  readonly topic: string;
  readonly id: string;
  readonly time: number;
  readonly data?: unknown;
  readonly data_base64?: string;
  readonly content_type?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly key?: string;
  readonly stream?: string;
  readonly offset?: number;
  readonly deleted?: boolean;
}

export function fromWire(wire: WireMessage): Shown {
  const data =
    wire.data_base64 === undefined
      ? wire.data
      : Uint8Array.from(atob(wire.data_base64), (character) => character.charCodeAt(0));
  return { ...wire, data, contentType: wire.content_type };
}

/** More than this of a body is not shown: laying it out would freeze the page. */
const SHOWN_CHARACTERS = 100_000;

export function MessageView({
  message,
  more = [],
}: {
  message: Shown;
  more?: readonly (readonly [string, ComponentChildren])[];
}): JSX.Element {
  const kind = bodyKind(message.data, message.contentType);
  const text = message.deleted === true ? "" : pretty(masked(message.data), kind);
  const cut = text.length > SHOWN_CHARACTERS;
  return (
    <div class="message">
      <Facts
        of={[
          ["Topic", message.topic],
          ["Id", message.id],
          ["Time", message.time === undefined ? undefined : new Date(message.time).toISOString()],
          ["Content type", message.contentType ?? "not stated"],
          ["Size", message.deleted === true ? "deleted: no value any more" : size(bodyBytes(message.data, kind))],
          ["Key", message.key],
          [
            "Position",
            message.stream === undefined ? undefined : <PositionLink stream={message.stream} offset={message.offset} />,
          ],
          ...Object.entries(message.headers ?? {}).map(([name, value]) => [`Header ${name}`, value] as const),
          ...more,
        ]}
      />
      {message.deleted !== true && (
        <>
          <div class="message-actions">
            <Copy text={text} label="Copy body" />
          </div>
          <pre tabIndex={0} aria-label="Body">
            {cut ? text.slice(0, SHOWN_CHARACTERS) : text}
          </pre>
          {cut && <p class="hint">The rest is left out here; Copy has it all.</p>}
        </>
      )}
    </div>
  );
}

function PositionLink({ stream, offset }: { stream: string; offset: number | undefined }): JSX.Element {
  return <span>{`${stream} @ ${offset ?? "?"}`}</span>;
}

/** A body in one line. */
export function oneLine(data: unknown, contentType: string | undefined, deleted = false): string {
  return deleted ? "deleted" : preview(masked(data), bodyKind(data, contentType));
}

export function bytesOf(message: Shown): number {
  return message.deleted === true ? 0 : bodyBytes(message.data, bodyKind(message.data, message.contentType));
}
