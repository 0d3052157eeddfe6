import { defineConfig } from "vitest/config";

export default defineConfig({
  resolve: { conditions: ["source"] },
  test: {
    include: ["client/test/**/*.test.ts", "console/test/**/*.test.ts"],
    environment: "node",
    // For what hangs: clocks are moved by the tests, what they compute takes as long as the machine is busy.
    testTimeout: 60_000,
  },
});
