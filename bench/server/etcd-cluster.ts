/** Three servers of etcd, with their defaults. */
import { spawn } from "node:child_process";
import { mkdtempSync } from "node:fs";
import path from "node:path";

import { freePorts } from "../../scripts/lib/free-ports.ts";
import { endWithUs, removeWithUs } from "../lib/leftovers.ts";
import { MEMBERS, ServerCluster, type Server } from "./server-cluster.ts";

const STATUS_MS_MAX = 1000;

export class EtcdCluster extends ServerCluster {
  /** `more` are flags for every member. */
  static async start(program: string, data: string, more: readonly string[] = []): Promise<EtcdCluster> {
    const root = removeWithUs(mkdtempSync(path.join(data, "keelson-bench-etcd-")));
    const ports = await freePorts(MEMBERS * 2);
    const urlAt = (place: number): string => `http://127.0.0.1:${ports[place] ?? 0}`;
    const names = Array.from({ length: MEMBERS }, (_, place) => `n${place + 1}`);
    const initial = names.map((name, place) => `${name}=${urlAt(place)}`).join(",");
    const servers = names.map((name, place): Server => {
      const [peerUrl, clientUrl] = [urlAt(place), urlAt(MEMBERS + place)];
      const args = [
        ...["--name", name, "--data-dir", path.join(root, name), "--log-level", "error"],
        ...["--listen-peer-urls", peerUrl, "--initial-advertise-peer-urls", peerUrl],
        ...["--listen-client-urls", clientUrl, "--advertise-client-urls", clientUrl],
        ...["--initial-cluster", initial, "--initial-cluster-state", "new"],
      ];
      const child = endWithUs(spawn(program, [...args, ...more], { stdio: ["ignore", "ignore", "inherit"] }));
      return { process: child, address: clientUrl.slice("http://".length), leads: () => leads(clientUrl) };
    });
    const cluster = new EtcdCluster(root, servers);
    await cluster.settle();
    return cluster;
  }
}

/** By etcd's JSON gateway. */
async function leads(url: string): Promise<boolean> {
  const response = await fetch(`${url}/v3/maintenance/status`, {
    method: "POST",
    body: "{}",
    signal: AbortSignal.timeout(STATUS_MS_MAX),
  });
  const status = (await response.json()) as {
    readonly header?: { readonly member_id?: string };
    readonly leader?: string;
  };
  return status.leader !== undefined && status.leader !== "0" && status.leader === status.header?.member_id;
}
