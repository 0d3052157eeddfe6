import { defaultClientConditions, defineConfig } from "vite";

// A gateway started by `gateway serve` answers what the development server does not have.
const gateway = process.env["GATEWAY_URL"] ?? "http://127.0.0.1:8080";

export default defineConfig({
  // Relative, so that the console also works behind a proxy that adds a path.
  base: "./",
  resolve: { conditions: ["source", ...defaultClientConditions] },
  build: {
    outDir: "../../gateway/console",
    emptyOutDir: true,
    // Inlined files would be data: URLs, which the page's Content-Security-Policy refuses.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: { proxy: { "/v1": { target: gateway, ws: true, changeOrigin: true } } },
});
