/**
 * What bundlers make of the packed library: how large the core is, what an import of the library loads, and
 * whether a node runs in a browser. Each function is given a folder in which the archive is installed.
 */
import { build, type BuildOptions, type Metafile } from "esbuild";
import { copyFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { gzipSync } from "node:zlib";

import { must } from "./must.ts";

/** The most bytes of the core alone, minified and compressed, that a page has to load. */
export const CORE_GZIP_BYTES_MAX = 25_000;

/** What must not be loaded by those who don't import it: the testing tools are larger than the library. */
const TESTING = /(^|\/)dist\/testing\//;
/** Node's parts of the library, which a browser must not be sent. */
const NODE_PARTS = /(^|\/)dist\/(environment\/node\/|platform\/node-platform)/;

interface Bundle {
  readonly bytes: Uint8Array;
  /** The files in it. */
  readonly inputs: readonly string[];
}

async function bundle(folder: string, options: BuildOptions): Promise<Bundle> {
  const { outputFiles, metafile } = await build({
    absWorkingDir: folder,
    bundle: true,
    format: "esm",
    target: "es2024",
    write: false,
    metafile: true,
    logLevel: "silent",
    ...options,
  });
  const [output] = Object.values((metafile as Metafile).outputs);
  const bytes = outputFiles?.[0]?.contents;
  if (output === undefined || bytes === undefined) throw new Error("the bundler wrote nothing");
  return { bytes, inputs: Object.keys(output.inputs) };
}

/** Text as an entry of a bundle, with imports that are resolved in `folder`. */
function entry(folder: string, contents: string): Pick<BuildOptions, "stdin"> {
  return { stdin: { contents, resolveDir: folder } };
}

/**
 * Bundles the core for browsers. Returns its size, minified and compressed, in bytes.
 *
 * @throws it is too large
 */
export async function coreBytes(folder: string): Promise<number> {
  const options = {
    ...entry(folder, 'export * from "keelson/core";'),
    platform: "browser",
    minify: true,
  } as const;
  const { bytes } = await bundle(folder, options);
  const size = gzipSync(bytes, { level: 9 }).length;
  if (size > CORE_GZIP_BYTES_MAX) {
    throw new Error(
      `the core has ${size} bytes, minified and compressed, and the limit is ${CORE_GZIP_BYTES_MAX} (CORE_GZIP_BYTES_MAX)`,
    );
  }
  return size;
}

/**
 * Follows all imports of all exports but `./testing`, also those that are made later (`import()`). Returns
 * how many files there are.
 *
 * @throws a testing tool is among them
 */
export async function filesWithoutTesting(folder: string, exportNames: readonly string[]): Promise<number> {
  const names = exportNames.filter((name) => name !== "./testing" && name !== "./package.json");
  const imports = names.map((name) => `import ${JSON.stringify(`keelson${name.slice(1)}`)};`).join("\n");
  const options = {
    ...entry(folder, imports),
    platform: "node",
    treeShaking: false,
    ignoreAnnotations: true,
  } as const;
  const { inputs } = await bundle(folder, options);
  const tools = inputs.filter((file) => TESTING.test(file));
  if (tools.length > 0) throw new Error(`who imports the library alone loads ${tools.join(", ")}`);
  return inputs.length;
}

/**
 * Bundles a program of three nodes with parts in memory for browsers, and runs it without Node's globals.
 * @throws an import of a module of Node is left, Node's parts are in the bundle, or the program fails
 */
export async function runInBrowser(folder: string): Promise<string> {
  const program = path.join(folder, "browser-cluster.ts");
  await copyFile(path.join(import.meta.dirname, "browser-cluster.ts"), program);
  // Fails if any file of the bundle imports a module of Node: there is none on this platform.
  const { bytes, inputs } = await bundle(folder, { entryPoints: [program], platform: "browser" });
  const nodeParts = inputs.filter((file) => NODE_PARTS.test(file));
  if (nodeParts.length > 0) throw new Error(`a browser is sent ${nodeParts.join(", ")}`);
  const bundled = path.join(folder, "browser-cluster.bundle.mjs");
  await writeFile(bundled, bytes);
  return must(process.execPath, [path.join(import.meta.dirname, "without-node.ts"), bundled], folder);
}
