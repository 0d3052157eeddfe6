import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

// The tests live in tests/browser, beside the other tests; what they import lives here.
export default defineConfig({
  resolve: {
    conditions: ["source"],
    alias: {
      "playwright-core": here("./node_modules/playwright-core/index.mjs"),
      "axe-core": here("./node_modules/axe-core/axe.js"),
      "@fanout-gateway/client": here("./client/src/index.ts"),
      "react-dom/server": here("./node_modules/react-dom/server.node.js"),
      react: here("./node_modules/react"),
      vite: here("./node_modules/vite/dist/node/index.js"),
    },
  },
  test: {
    dir: here("../tests/browser"),
    include: ["**/*.test.ts"],
    environment: "node",
    // Each file starts a gateway and a browser.
    fileParallelism: false,
    // For what hangs; what a test waits for has PATIENCE of tests/browser/chromium.ts.
    testTimeout: 180_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 45_000 } },
    // Node before 22 has its WebSocket behind this flag.
    execArgv: ["--experimental-websocket"],
  },
});
