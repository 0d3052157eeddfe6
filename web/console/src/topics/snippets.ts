/** The same from elsewhere: what the page does as a command or a few lines of code. */

export interface Snippet {
  readonly language: "curl" | "Python" | "TypeScript";
  readonly text: string;
}

/** How to listen to these filters from there on. */
export function listening(origin: string, filters: readonly string[], from: string, signedIn: boolean): Snippet[] {
  const query = filters.map((filter) => `filter=${encodeURIComponent(filter)}`);
  if (from !== "") query.push(`from=${encodeURIComponent(from.replace(/^offset:/, ""))}`);
  const curlToken = signedIn ? ` \\\n  -H "authorization: Bearer $TOKEN"` : "";
  const python = pythonStart(from);
  const typescript = typescriptStart(from);
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
  const curlBody = base64 ? "--data-binary @-" : `--data-binary ${shell(body)}`;
  const pythonBody = base64 ? `base64.b64decode(${json(body)})` : json_ ? `json.loads(${json(body)})` : json(body);
  const pythonImport = base64 ? "import base64\n" : json_ ? "import json\n" : "";
  const scriptBody = base64
    ? `Uint8Array.from(atob(${json(body)}), (c) => c.charCodeAt(0))`
    : json_
      ? body.trim() || "null"
      : json(body);
  return [
    {
      language: "curl",
      text: `${decode}curl ${shell(url)}${token} \\\n  -H ${shell(`content-type: ${contentType}`)} \\\n  ${curlBody}`,
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

function pythonStart(from: string): string {
  const [kind, number = ""] = from.split(":");
  if (kind === "") return "";
  return kind === "earliest" ? ', start="earliest"' : `, start={${json(kind)}: ${number}}`;
}

function typescriptStart(from: string): string {
  const [kind, number = ""] = from.split(":");
  if (kind === "") return "";
  return kind === "earliest" ? '\n    from: "earliest",' : `\n    from: { ${kind}: ${number} },`;
}

/** One argument, whatever it holds. */
export function shell(text: string): string {
  return `'${text.replace(/'/g, "'\\''")}'`;
}

function json(value: unknown): string {
  return JSON.stringify(value);
}
