/**
 * Passes the archives of `npm run packages` on to the checks that run after it, so that they needn't build
 * again.
 */
import { copyFile, mkdir, readdir, rm } from "node:fs/promises";
import path from "node:path";

const FOLDER = path.join(import.meta.dirname, "../../node_modules/.cache/keelson-packs");

/** Keeps copies of these archives, and no older ones. */
export async function leavePacks(archives: readonly string[]): Promise<void> {
  await rm(FOLDER, { recursive: true, force: true });
  await mkdir(FOLDER, { recursive: true });
  for (const archive of archives) await copyFile(archive, path.join(FOLDER, path.basename(archive)));
}

/** The archives that were kept. @throws there are none */
export async function packsLeft(): Promise<string[]> {
  const names = await readdir(FOLDER).catch(() => []);
  if (names.length === 0) throw new Error("there are no packs: run npm run packages first");
  return names.map((name) => path.join(FOLDER, name));
}
