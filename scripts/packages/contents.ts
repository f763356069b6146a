/** What is in a pack: nothing that users have no use for, and source maps that lead to files of the pack. */
import { readFile } from "node:fs/promises";
import path from "node:path";

import type { Pack } from "./packing.ts";

/**
 * The most bytes of a package when it is installed, so that a stray folder is noticed. About a third above
 * today's.
 */
const UNPACKED_BYTES_MAX = 10_000_000;

/** Tests, their helpers, and what the compiler keeps for itself. */
const STRAYS = /\.test\.|\/test\/|\/plays\/|tsbuildinfo/;

/** @throws the pack has a file that it should not have, or is too large */
export function checkContents({ name, files, unpackedBytes }: Pack): void {
  const strays = files.filter((file) => STRAYS.test(file.path));
  if (strays.length > 0)
    throw new Error(`${name} would publish ${strays.map((file) => file.path).join(", ")}`);
  for (const needed of ["LICENSE", "README.md", "package.json"]) {
    if (!files.some((file) => file.path === needed)) throw new Error(`${name} lacks ${needed}`);
  }
  if (unpackedBytes > UNPACKED_BYTES_MAX) {
    throw new Error(
      `${name} has ${unpackedBytes} bytes when it is installed; the limit is ${UNPACKED_BYTES_MAX} (UNPACKED_BYTES_MAX)`,
    );
  }
}

/** The bytes of the files of a pack below a folder of `dist` and the folder of the same name of `src`. */
export function bytesOf({ files }: Pack, folder: string): number {
  return files
    .filter((file) => file.path.startsWith(`dist/${folder}/`) || file.path.startsWith(`src/${folder}/`))
    .reduce((sum, { size }) => sum + size, 0);
}

/**
 * Follows the maps of all compiled files of an installed package. Returns how many there are.
 * @throws a file has no map, or its map leads to a file that isn't in the package
 */
export async function checkMaps({ name, files }: Pack, home: string): Promise<number> {
  const packed = new Set(files.map((file) => file.path));
  const compiled = [...packed].filter((file) => /\.(js|d\.ts)$/.test(file));
  for (const file of compiled) {
    const text = await readFile(path.join(home, file), "utf8");
    const map = /^\/\/# sourceMappingURL=(.+)$/m.exec(text)?.[1];
    const mapFile = path.posix.join(path.posix.dirname(file), map ?? "none");
    if (!packed.has(mapFile)) throw new Error(`${name}: ${file} has no map in the package (${mapFile})`);
    const { sources, sourceRoot = "" } = JSON.parse(await readFile(path.join(home, mapFile), "utf8")) as {
      sources: string[];
      sourceRoot?: string;
    };
    if (sources.length === 0) throw new Error(`${name}: ${mapFile} leads nowhere`);
    for (const source of sources) {
      const target = path.posix.join(path.posix.dirname(mapFile), sourceRoot, source);
      if (!packed.has(target))
        throw new Error(`${name}: ${mapFile} leads to ${target}, which isn't in the package`);
    }
  }
  return compiled.length;
}
