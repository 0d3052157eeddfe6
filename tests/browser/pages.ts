/** Pages for a browser: built by Vite, served on an origin of their own. */
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { type Server, createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";

const TYPES: Readonly<Record<string, string>> = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css" };

/** Path of a file or folder in web/. */
export function inWeb(path: string): string {
  return fileURLToPath(new URL(`../../web/${path}`, import.meta.url));
}

/** Serves a folder's files; what `replace` returns for a path goes in place of the file. */
export class Pages {
  readonly #server: Server;
  readonly #cleaning: string[] = [];

  private constructor(
    private readonly directory: string,
    private readonly replace: (path: string, text: string) => string,
  ) {
    this.#server = createServer((request, response) => {
      const path = normalize(new URL(request.url ?? "/", "http://page").pathname);
      if (path === "/favicon.ico") {
        response.writeHead(204).end(); // browsers ask for one, and complain where there is none
        return;
      }
      const name = path === "/" ? "/index.html" : path;
      readFile(join(this.directory, name)).then(
        (bytes) => {
          const type = TYPES[extname(name)] ?? "application/octet-stream";
          response.setHeader("content-type", type);
          response.end(type === "text/html" ? this.replace(name, bytes.toString()) : bytes);
        },
        () => response.writeHead(404).end(),
      );
    });
  }

  static async serve(directory: string, replace: (path: string, text: string) => string = (_path, text) => text): Promise<Pages> {
    const pages = new Pages(directory, replace);
    pages.#server.listen(0, "127.0.0.1");
    await once(pages.#server, "listening");
    return pages;
  }

  /** Builds the page whose index.html lies in `root`, and serves it. */
  static async build(root: string, replace?: (path: string, text: string) => string): Promise<Pages> {
    const outDir = await mkdtemp(join(tmpdir(), "gateway-pages-"));
    await build({
      root,
      configFile: false,
      logLevel: "error",
      resolve: {
        conditions: ["source", "module", "browser", "production"],
        alias: [
          { find: /^@fanout-gateway\/(client|react)$/, replacement: inWeb("$1/src/index.ts") },
          { find: /^(react|react-dom)(\/.*)?$/, replacement: inWeb("node_modules/$1$2") },
        ],
      },
      build: { outDir, emptyOutDir: true },
    });
    const pages = await Pages.serve(outDir, replace);
    pages.#cleaning.push(outDir);
    return pages;
  }

  get origin(): string {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    return `http://127.0.0.1:${address.port}`;
  }

  async stop(): Promise<void> {
    this.#server.close();
    for (const directory of this.#cleaning) await rm(directory, { recursive: true, force: true });
  }
}
