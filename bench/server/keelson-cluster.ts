/** Three servers of the key-value store, as built and as users run them, with their defaults. */
import { spawn } from "node:child_process";
import { mkdtempSync } from "node:fs";
import path from "node:path";

import { freePorts } from "../../scripts/lib/free-ports.ts";
import { endWithUs, removeWithUs } from "../lib/leftovers.ts";
import { MEMBERS, ServerCluster, type Server } from "./server-cluster.ts";

const MAIN = path.join(import.meta.dirname, "../../packages/kv/dist/main.js");
const STATUS_MS_MAX = 1000;

export class KeelsonCluster extends ServerCluster {
  static async start(data: string): Promise<KeelsonCluster> {
    const root = removeWithUs(mkdtempSync(path.join(data, "keelson-bench-")));
    const ports = await freePorts(MEMBERS * 3);
    const at = (place: number): string => `127.0.0.1:${ports[place] ?? 0}`;
    const ids = Array.from({ length: MEMBERS }, (_, place) => `n${place + 1}`);
    const peers = ids.map((id, place) => `${id}=${at(place)}`).join(",");
    const servers = ids.map((id, place): Server => {
      const own = ["--id", id, "--data", path.join(root, id), "--log-level", "error", "--peers", peers];
      const addresses = ["--line", at(MEMBERS + place), "--http", at(2 * MEMBERS + place)];
      const program = [MAIN, "serve", ...own, ...addresses];
      const child = endWithUs(spawn(process.execPath, program, { stdio: ["ignore", "inherit", "inherit"] }));
      const address = at(2 * MEMBERS + place);
      return { process: child, address, leads: () => leads(address) };
    });
    const cluster = new KeelsonCluster(root, servers);
    await cluster.settle();
    return cluster;
  }
}

async function leads(address: string): Promise<boolean> {
  const response = await fetch(`http://${address}/status`, { signal: AbortSignal.timeout(STATUS_MS_MAX) });
  const { role } = (await response.json()) as { readonly role: string };
  return role === "leader";
}
