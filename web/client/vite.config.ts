import { defineConfig } from "vite";

const FILES = {
  // The library for `<script src>`: everything under the global FanoutGateway.
  script: { entry: "src/index.ts", name: "FanoutGateway", file: "fanout-gateway.min.js" },
  // What a SharedWorker runs.
  worker: { entry: "src/shared_worker.ts", name: "FanoutGatewayWorker", file: "fanout-gateway-worker.min.js" },
};

export default defineConfig(({ mode }) => {
  const { entry, name, file } = mode === "worker" ? FILES.worker : FILES.script;
  return {
    build: {
      emptyOutDir: false, // tsc has written beside it
      lib: { entry, formats: ["iife"], name, fileName: () => file },
      target: "es2022",
      sourcemap: false,
    },
  };
});
