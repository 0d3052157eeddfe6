import { defineConfig } from "vite";

// The library as one file for `<script src>`: everything under the global FanoutGateway.
export default defineConfig({
  build: {
    emptyOutDir: false, // tsc has written beside it
    lib: {
      entry: "src/index.ts",
      formats: ["iife"],
      name: "FanoutGateway",
      fileName: () => "fanout-gateway.min.js",
    },
    target: "es2022",
    sourcemap: false,
  },
});
