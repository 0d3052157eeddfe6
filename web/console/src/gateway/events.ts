/** Server-sent events read by `fetch`: unlike an `EventSource` it can carry a credential, and end when told. */
import { authorization, credential, reach, refusal, toProblem } from "./api.js";

export interface ServerEvent {
  readonly name: string;
  readonly data: string;
  readonly id: string;
}

/** Gives each event to `onEvent`, and resolves when the gateway has ended the stream; throws what `reach` and a refusal throw. */
export async function readEvents(
  url: string,
  signal: AbortSignal,
  onEvent: (event: ServerEvent) => void,
): Promise<void> {
  const used = credential.value;
  const response = await reach(url, { headers: { accept: "text/event-stream", ...authorization(used) }, signal });
  if (!response.ok || response.body === null) {
    const problem = await toProblem(response);
    if (response.status === 401 && used === credential.value) refusal.value = problem.code;
    throw problem;
  }
  const parser = new EventParser(onEvent);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (let read = await reader.read(); !read.done; read = await reader.read()) parser.push(read.value);
  } finally {
    reader.cancel().catch(() => undefined);
  }
}

/** The lines of `text/event-stream` as events (HTML, 9.2.6); text may be cut anywhere. */
export class EventParser {
  #rest = "";
  #name = "";
  #data: string[] = [];
  #id = "";

  constructor(private readonly onEvent: (event: ServerEvent) => void) {}

  push(text: string): void {
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?=[^\n])/);
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.#line(line);
  }

  #line(line: string): void {
    if (line === "") {
      if (this.#data.length > 0)
        this.onEvent({ name: this.#name || "message", data: this.#data.join("\n"), id: this.#id });
      this.#name = "";
      this.#data = [];
      return;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.#name = value;
    else if (field === "data") this.#data.push(value);
    else if (field === "id") this.#id = value;
  }
}
