// Builds and serves the examples with the packages of ../../web; what asks for /v1 is handed on to a gateway.
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const gateway = process.env.GATEWAY_URL ?? "http://127.0.0.1:8080";

export default {
  root: here("."),
  publicDir: here("../../web/client/dist"),
  resolve: {
    conditions: ["source", "module", "browser", "development|production"],
    alias: [
      { find: /^@fanout-gateway\/(client|react)$/, replacement: here("../../web/$1/src/index.ts") },
      { find: /^(react|react-dom)(\/.*)?$/, replacement: here("../../web/node_modules/$1$2") },
    ],
  },
  build: {
    outDir: here("dist"),
    emptyOutDir: true,
    rollupOptions: { input: ["library", "event_source", "react"].map((name) => here(`${name}.html`)) },
  },
  // The page and the gateway have one origin that way, so that the gateway needs no settings.
  preview: { port: 8081, proxy: { "/v1": { target: gateway, ws: true } } },
};
