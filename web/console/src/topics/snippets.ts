/**
 * The same from elsewhere: what the page does as a command or a few lines of code. It will be run by whoever copies it,
 * and may come from a link or from a message: what is not ours is quoted, and never an instruction.
 */
import type { StartFrom } from "@fanout-gateway/client";
import { toStart } from "./beginning.js";

export interface Snippet {
  readonly language: "curl" | "Python" | "TypeScript";
  readonly text: string;
}

/** How to listen to these filters from there on; from `snapshot` what there is comes first. */
export function listening(origin: string, filters: readonly string[], from: string, signedIn: boolean): Snippet[] {
  const query = filters.map((filter) => `filter=${encodeURIComponent(filter)}`);
  const start = from === "snapshot" ? from : toStart(from);
  if (start !== undefined) query.push(`from=${encodeURIComponent(from.replace(/^offset:/, ""))}`);
  const curlToken = signedIn ? ` \\\n  -H "authorization: Bearer $TOKEN"` : "";
  const python = pythonStart(start);
  const typescript = typescriptStart(start);
  return [
    { language: "curl", text: `curl -N ${shell(`${origin}v1/events?${query.join("&")}`)}${curlToken}` },
    {
      language: "Python",
      text: `import asyncio
${signedIn ? "import os\n" : ""}
from gateway.client import Client


async def main() -> None:
    async with Client(${json(origin)}${signedIn ? ', token=os.environ["TOKEN"]' : ""}) as client:
        async with asyncio.TaskGroup() as group:
            for topic_filter in ${json(filters)}:
                group.create_task(follow(client, topic_filter))


async def follow(client: Client, topic_filter: str) -> None:
    async for message in client.subscribe(topic_filter${python}):
        print(message.topic, message.data)


asyncio.run(main())`,
    },
    {
      language: "TypeScript",
      text: `import { Client } from "@fanout-gateway/client";

const client = new Client(${json(origin)}${signedIn ? ", { token: async () => process.env.TOKEN! }" : ""});
for (const filter of ${json(filters)}) {
  await client.subscribe(filter, {${typescript}
    onMessage: (message) => console.log(message.topic, message.data),
  });
}`,
    },
  ];
}

/** How to publish this message. */
export function publishing(
  origin: string,
  message: { topic: string; contentType: string; body: string; base64: boolean },
  signedIn: boolean,
): Snippet[] {
  const { topic, contentType, body, base64 } = message;
  const json_ = /[/+]json$/i.test((contentType.split(";")[0] ?? "").trim());
  const url = `${origin}v1/topics/${topic.split("/").map(encodeURIComponent).join("/")}`;
  const token = signedIn ? ` \\\n  -H "authorization: Bearer $TOKEN"` : "";
  const decode = base64 ? `echo ${shell(body.replace(/\s/g, ""))} | base64 -d | ` : "";
  // Of what begins with "@", `--data-binary` would make the content of a file.
  const curlBody = base64 ? "--data-binary @-" : `--data-raw ${shell(body)}`;
  const dots = /(^|\/)\.{1,2}(\/|$)/.test(topic) ? "--path-as-is " : "";
  const pythonBody = base64 ? `base64.b64decode(${json(body)})` : json_ ? `json.loads(${json(body)})` : json(body);
  const pythonImport = base64 ? "import base64\n" : json_ ? "import json\n" : "";
  const scriptBody = base64
    ? `Uint8Array.from(atob(${json(body)}), (c) => c.charCodeAt(0))`
    : json_
      ? scriptJson(body)
      : /^text\//i.test(contentType.trim())
        ? json(body)
        : `new TextEncoder().encode(${json(body)})`;
  return [
    {
      language: "curl",
      text: `${decode}curl ${dots}${shell(url)}${token} \\\n  -H ${shell(`content-type: ${contentType}`)} \\\n  ${curlBody}`,
    },
    {
      language: "Python",
      text: `import asyncio
${signedIn ? "import os\n" : ""}${pythonImport}
from gateway.client import Client


async def main() -> None:
    async with Client(${json(origin)}${signedIn ? ', token=os.environ["TOKEN"]' : ""}) as client:
        await client.publish(${json(topic)}, ${pythonBody}, content_type=${json(contentType)})


asyncio.run(main())`,
    },
    {
      language: "TypeScript",
      text: `import { Client } from "@fanout-gateway/client";

const client = new Client(${json(origin)}${signedIn ? ", { token: async () => process.env.TOKEN! }" : ""});
await client.connect();
await client.publish(${json(topic)}, ${scriptBody}, { contentType: ${json(contentType)} });
client.close();`,
    },
  ];
}

function pythonStart(start: StartFrom | undefined): string {
  return start === undefined ? "" : `, start=${json(start).replace(":", ": ")}`;
}

function typescriptStart(start: StartFrom | undefined): string {
  if (start === undefined) return "";
  if (typeof start === "string") return `\n    from: ${json(start)},`;
  const [kind, number] = Object.entries(start)[0] ?? [];
  return `\n    from: { ${kind}: ${number} },`;
}

/** What a script publishes for this text: the text itself only where it is JSON and nothing more. */
function scriptJson(text: string): string {
  try {
    JSON.parse(text);
    return text.trim();
  } catch {
    return `JSON.parse(${json(text)})`;
  }
}

/** One argument, whatever it holds. */
export function shell(text: string): string {
  return `'${text.replace(/'/g, "'\\''")}'`;
}

function json(value: unknown): string {
  return JSON.stringify(value);
}
