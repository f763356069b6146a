/**
 * Validates examples/kubernetes against the schemas of Kubernetes, and checks what no schema knows: `npm run
 * kubernetes`. The schemas come with the Python package kubernetes-validate. Without it, one line says that
 * nothing was checked.
 */
import { spawnSync } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import path from "node:path";

import { faultsOf, type Manifest } from "./kubernetes/faults.ts";
import { SKIPPED } from "./tally.ts";
import { flagsOf } from "./lib/flags.ts";

/** Its schemas are those of the Kubernetes version with the same number. */
const VALIDATOR = "kubernetes-validate";
const VERSION = "1.37.0";
/** The oldest minor version that is still maintained, and the newest that the validator knows. */
const KUBERNETES = ["1.34", "1.37"] as const;

const HELP = `Usage: npm run kubernetes [-- --install]

Validates examples/kubernetes/keelson.yaml against the schemas of Kubernetes ${KUBERNETES.join(" and ")}, with ${VALIDATOR} ${VERSION}
from PyPI, and checks its probes, labels and command line.

  --install  installs the validator into node_modules/.cache`;

const root = path.join(import.meta.dirname, "..");
const FILE = path.join(root, "examples/kubernetes/keelson.yaml");
const ENVIRONMENT = path.join(root, "node_modules/.cache", `${VALIDATOR}-${VERSION}`);

function main(): number {
  const { values } = flagsOf("npm run kubernetes", HELP, {
    options: {
      install: { type: "boolean", default: false },
    },
  });
  if (values.install && !existsSync(ENVIRONMENT)) install();
  const python = [path.join(ENVIRONMENT, "bin/python"), "python3"].find(hasValidator);
  if (python === undefined) {
    console.log(
      `${SKIPPED} ${VALIDATOR} ${VERSION} is not installed, so no manifest was checked (npm run kubernetes -- --install).`,
    );
    return 0;
  }
  for (const version of KUBERNETES) {
    const { status, stdout, stderr } = spawnSync(
      python,
      ["-m", "kubernetes_validate", "--strict", "--kubernetes-version", version, FILE],
      { encoding: "utf8" },
    );
    const passed = `${stdout}${stderr}`.split("\n").filter((line) => line.includes(" passed "));
    if (status !== 0 || passed.length === 0) {
      console.log(`FAILED against Kubernetes ${version}:\n${stdout}${stderr}`);
      return 1;
    }
    console.log(`${passed.length} manifests are valid for Kubernetes ${version}, with no unknown field`);
  }
  const faults = faultsOf(manifests(python));
  for (const fault of faults) console.log(`FAILED: ${fault}`);
  if (faults.length === 0) console.log("probes, labels, members and the command line fit each other");
  return faults.length === 0 ? 0 : 1;
}

function hasValidator(python: string): boolean {
  const script = `from importlib.metadata import version; assert version("${VALIDATOR}") == "${VERSION}"`;
  return spawnSync(python, ["-c", script]).status === 0;
}

function install(): void {
  const pip = path.join(ENVIRONMENT, "bin/pip");
  for (const [command, args] of [
    ["python3", ["-m", "venv", ENVIRONMENT]],
    [pip, ["install", "--quiet", "--disable-pip-version-check", `${VALIDATOR}==${VERSION}`]],
  ] as const) {
    const { status, stderr, error } = spawnSync(command, args, { encoding: "utf8" });
    if (status === 0) continue;
    rmSync(ENVIRONMENT, { recursive: true, force: true });
    throw new Error(`${command} ${args.join(" ")}: ${error?.message ?? stderr}`);
  }
}

function manifests(python: string): Manifest[] {
  const script = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
  const { status, stdout, stderr } = spawnSync(python, ["-c", script, FILE], { encoding: "utf8" });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as Manifest[];
}

process.exitCode = main();
