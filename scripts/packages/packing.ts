/**
 * Builds and packs the packages in a copy of the working tree, so that what is in the tree's own `dist`
 * folders has no part in it, and nothing in the tree changes. Two copies with other times and file modes must
 * give the same archives: then anyone can build from a tag what was published under it, and compare.
 */
import { createHash } from "node:crypto";
import { chmod, copyFile, mkdir, mkdtemp, readdir, readFile, symlink, utimes } from "node:fs/promises";
import path from "node:path";

import { must } from "./must.ts";

const root = path.join(import.meta.dirname, "../..");

/** The folders of the packages, in the order in which they are published. */
export const PACKAGE_FOLDERS = ["packages/keelson", "packages/kv"] as const;

/** What the build and the packs are made of. */
const INPUTS = ["packages", "package.json", "tsconfig.base.json", "tsconfig.build.json"];

/** The mode of all files in a pack. npm makes the commands executable where it installs them. */
const FILE_MODE = 0o644;

/** An archive as npm would publish it. */
export interface Pack {
  /** The folder of the package in the repository. */
  readonly folder: string;
  /** The package's name. */
  readonly name: string;
  /** The path of the archive. */
  readonly archive: string;
  readonly sha256: string;
  readonly packedBytes: number;
  readonly unpackedBytes: number;
  /** The files in it, with their sizes. */
  readonly files: readonly PackedFile[];
}

interface PackedFile {
  readonly path: string;
  readonly size: number;
}

/** How the files of a copy differ from those of another. They must make no difference. */
interface CopyOptions {
  /** The time of all files. */
  readonly at: Date;
  /** The mode of all files. */
  readonly mode: number;
}

/** Packs twice, from two copies. @throws the archives differ */
export async function packTwice(directory: string): Promise<readonly Pack[]> {
  // Both copies first: the tree may be edited while the first is built.
  const copy = await copyTree(directory, { at: new Date("2001-02-03T04:05:06Z"), mode: 0o644 });
  const other = await copyTree(directory, { at: new Date(), mode: 0o600 });
  const packs = await packFrom(copy, directory);
  const again = await packFrom(other, directory);
  for (const [at, { name, archive, sha256 }] of packs.entries()) {
    const second = again[at];
    if (second === undefined || second.sha256 !== sha256) {
      throw new Error(`two packs of ${name} differ; compare ${archive} with ${String(second?.archive)}`);
    }
  }
  return packs;
}

/** Builds and packs a copy, into a new folder of `directory`. */
async function packFrom(copy: string, directory: string): Promise<readonly Pack[]> {
  await linkModules(copy);
  await must("tsc", ["-b", "tsconfig.build.json"], copy);
  for (const folder of PACKAGE_FOLDERS) await setModes(path.join(copy, folder));
  const archives = await mkdtemp(path.join(directory, "packs-"));
  const packs: Pack[] = [];
  for (const folder of PACKAGE_FOLDERS) packs.push(await pack(copy, folder, archives));
  return packs;
}

/** Copies the files as git knows them, tracked, or new and not ignored, into a new folder of `directory`. */
async function copyTree(directory: string, { at, mode }: CopyOptions): Promise<string> {
  const copy = await mkdtemp(path.join(directory, "tree-"));
  const listed = [
    "ls-files",
    "-z",
    "--cached",
    "--others",
    "--exclude-standard",
    "--deduplicate",
    "--",
    ...INPUTS,
  ];
  const deleted = new Set((await must("git", ["ls-files", "-z", "--deleted"], root)).split("\0"));
  for (const name of (await must("git", listed, root)).split("\0")) {
    if (name === "" || deleted.has(name)) continue;
    const target = path.join(copy, name);
    await mkdir(path.dirname(target), { recursive: true });
    await copyFile(path.join(root, name), target);
    await chmod(target, mode);
    await utimes(target, at, at);
  }
  return copy;
}

/** npm packs the modes of files as they are, and those of a clone depend on the umask of its owner. */
async function setModes(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) await chmod(path.join(entry.parentPath, entry.name), FILE_MODE);
  }
}

/** Gives the copy the packages that are installed, but its own workspaces. */
async function linkModules(copy: string): Promise<void> {
  const modules = path.join(copy, "node_modules");
  await mkdir(modules);
  for (const name of await readdir(path.join(root, "node_modules"))) {
    if (!name.startsWith("keelson") && !name.startsWith(".")) {
      await symlink(path.join(root, "node_modules", name), path.join(modules, name));
    }
  }
  await symlink("../packages/keelson", path.join(modules, "keelson"));
}

async function pack(copy: string, folder: string, into: string): Promise<Pack> {
  const printed = await must(
    "npm",
    ["pack", "--json", "--silent", "--pack-destination", into],
    path.join(copy, folder),
  );
  const json: unknown = JSON.parse(printed.slice(printed.search(/[[{]/)));
  // npm prints a list, or (from version 12 on) an object by package name.
  const [packed] = Object.values(
    json as Record<string, { name: string; filename: string; unpackedSize: number; files: PackedFile[] }>,
  );
  if (packed === undefined) throw new Error(`npm pack said nothing about ${folder}:\n${printed}`);
  const { name, filename, unpackedSize, files } = packed;
  const archive = path.join(into, filename);
  const bytes = await readFile(archive);
  return {
    folder,
    name,
    archive,
    sha256: createHash("sha256").update(bytes).digest("hex"),
    packedBytes: bytes.length,
    unpackedBytes: unpackedSize,
    files,
  };
}
