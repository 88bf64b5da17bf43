import { defineConfig } from "vitest/config";

// The page runs under a policy that allows neither inline code nor data addresses, so every
// asset is a file of its own; names carry a hash, so that browsers may keep them.
export default defineConfig({
  base: "/static/",
  build: {
    outDir: process.env["HANDFUL_STATIC"] ?? "../src/handful/page/static",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
    reportCompressedSize: false,
  },
  server: { proxy: { "/api": "http://127.0.0.1:8765" } },
  test: { environment: "happy-dom", include: ["tests/**/*.test.{ts,tsx}"] },
});
