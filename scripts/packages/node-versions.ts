/** Other versions of Node, from the packages that carry its binaries, in a folder of their own. */
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";

import { run } from "../commands.ts";
import { must } from "./must.ts";

/** The versions on which the packages must work, and the one that they must refuse. */
export const NODE_VERSIONS = ["22", "24", "26"] as const;
export const REFUSED_VERSION = "20";

/** The time limit of an installation. A slow registry needs it: each Node has about 50 MB. */
const INSTALL_SECONDS_MAX = 300;

/** What npm says when the registry can't be reached, or doesn't work. Anything else is an error of ours. */
const UNREACHABLE =
  /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ERR_SOCKET_TIMEOUT|E(?:50[0-9])|ENOTCACHED/;

/** The registry can't be reached, so nothing was checked. */
export class RegistryUnreachable extends Error {}

/** Installs packages into a folder. @throws RegistryUnreachable */
export async function installFromRegistry(folder: string, packages: readonly string[]): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(path.join(folder, "package.json"), "{}");
  const flags = ["--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=1", "--loglevel=error"];
  const { code, output } = await run("npm", ["install", ...flags, ...packages], {
    cwd: folder,
    secondsMax: INSTALL_SECONDS_MAX,
  });
  if (code === 0) return;
  const [reason] = UNREACHABLE.exec(output) ?? [];
  if (reason !== undefined)
    throw new RegistryUnreachable(`the registry of packages can't be reached (${reason})`);
  throw new Error(`npm install ${packages.join(" ")} failed\n${output}`);
}

/**
 * Installs Node in these major versions; returns the folders of their binaries.
 *
 * @throws RegistryUnreachable
 */
export async function installNodes(
  folder: string,
  versions: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const carrier = `node-${process.platform}-${process.arch}`;
  await installFromRegistry(
    folder,
    versions.map((version) => `n${version}@npm:${carrier}@${version}`),
  );
  const binaries = new Map<string, string>();
  for (const version of versions) {
    const bin = path.join(folder, `node_modules/n${version}/bin`);
    const printed = (await must(path.join(bin, "node"), ["--version"], folder)).trim();
    if (!printed.startsWith(`v${version}.`)) throw new Error(`${bin} holds Node ${printed}, not ${version}`);
    binaries.set(version, bin);
  }
  return binaries;
}
