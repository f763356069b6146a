import { spawnSync } from "node:child_process";

/**
 * A PID namespace and its own /proc, as a container has them; also for users other than root, where allowed.
 */
const PREFIXES = [
  ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"],
  ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc", "--"],
];

/**
 * The command that runs a program in a PID namespace of its own, to be put before the program. Where the
 * machine doesn't allow namespaces, it is empty and a line says so: the test then shows less.
 */
export function pidNamespace(): readonly string[] {
  for (const [command = "", ...args] of PREFIXES) {
    if (spawnSync(command, [...args, "true"]).status === 0) return [command, ...args];
  }
  console.warn("no PID namespaces on this machine (unshare refuses): processes run side by side instead");
  return [];
}
