// Build gsplat.min.js in this folder; see README.md.
//
// The package starts its workers as modules, which a browser does not load on a page that was opened as a file. They import
// nothing, so they also run as classic scripts, where `import.meta` does not exist.
import { build } from "esbuild";
import { readFile } from "node:fs/promises";

const WORKER = /"([A-Za-z0-9+/=]{2000,})"/g;
const decode = (text) => Buffer.from(text, "base64").toString("utf8");
const encode = (text) => Buffer.from(text, "utf8").toString("base64");
const asClassic = (text) => // the other long texts are WebAssembly
  decode(text).includes("import.meta.url") ? encode(decode(text).replaceAll("import.meta.url", "self.location.href")) : text;
const classicWorkers = {
  name: "classic-workers",
  setup({ onLoad }) {
    onLoad({ filter: /gsplat[\\/]dist[\\/]index\.es\.js$/ }, async ({ path }) => {
      const source = await readFile(path, "utf8");
      const contents = source
        .replaceAll(WORKER, (_, text) => `"${asClassic(text)}"`)
        .replaceAll("URL.revokeObjectURL(import.meta.url);", "URL.revokeObjectURL(self.location.href);")
        .replaceAll('type: "module"', 'type: "classic"');
      return { contents, loader: "js" };
    });
  },
};

await build({
  stdin: {
    contents: 'export { Camera, Color32, Quaternion, Scene, Splat, SplatData, Vector3, WebGLRenderer } from "gsplat";',
    resolveDir: process.cwd(),
  },
  bundle: true,
  minify: true,
  format: "iife",
  globalName: "SPLAT",
  target: "es2020",
  outfile: new URL("gsplat.min.js", import.meta.url).pathname,
  plugins: [classicWorkers],
});
