import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

const dist = "../platform/fettle_platform/web/dist";
const server = process.env.FETTLE_BASE_URL?.replace(/\/v1$/, "") ?? "http://127.0.0.1:8000";
// The object form: the short form changes the Host header, and then the server's CSRF check refuses every change.
const proxied = { target: server, changeOrigin: false };

/** Writes `x.js.br` and `x.js.gz` beside every text file of the build; the server picks one. */
function compress(): Plugin {
  return {
    name: "compress",
    apply: "build",
    closeBundle() {
      for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile() || !/\.(js|css|svg)$/.test(entry.name)) continue;
        const path = join(entry.parentPath, entry.name);
        const content = readFileSync(path);
        writeFileSync(`${path}.br`, brotliCompressSync(content));
        writeFileSync(`${path}.gz`, gzipSync(content, { level: 9 }));
      }
    },
  };
}

export default defineConfig({
  base: "/static/app/",
  plugins: [react(), compress()],
  resolve: { alias: { "@": join(import.meta.dirname, "src") } },
  build: {
    outDir: dist,
    emptyOutDir: true,
    target: "es2022",
    manifest: true,
    rolldownOptions: {
      output: {
        codeSplitting: {
          groups: [
            { name: "react", test: /node_modules\/(react|react-dom|scheduler)\// },
            {
              name: "tanstack",
              test: /node_modules\/@tanstack\/(react-router|router-core|history|react-query|query-core)/,
            },
          ],
        },
      },
    },
  },
  // The example that the page offers is that of the repository.
  server: { proxy: { "/v1": proxied }, fs: { allow: [".", "../examples/demo"] } },
  test: { environment: "happy-dom", include: ["src/**/*.test.{ts,tsx}"], setupFiles: ["src/test-setup.ts"] },
});
