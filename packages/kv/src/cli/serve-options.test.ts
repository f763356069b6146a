import { describe, expect, it, vi } from "vitest";
import { parseDemoOptions } from "./demo/demo-options.ts";
import { parseServeOptions } from "./serve-options.ts";
import { UsageError } from "../shared/errors.ts";

const FLAGS: Readonly<Record<string, string>> = {
  id: "n1",
  peers: "n1=127.0.0.1:7001,n2=127.0.0.1:7002",
  data: "d",
  line: "127.0.0.1:8001",
  http: "127.0.0.1:9001",
};

function args(changes: Readonly<Record<string, string | undefined>> = {}): string[] {
  return Object.entries({ ...FLAGS, ...changes }).flatMap(([name, value]) =>
    value === undefined ? [] : [`--${name}`, value],
  );
}

describe("the flags of serve", () => {
  it("describe a node and its peers, with defaults for everything else", () => {
    expect(parseServeOptions(args())).toEqual({
      id: "n1",
      peers: Object.assign(Object.create(null) as object, { n1: "127.0.0.1:7001", n2: "127.0.0.1:7002" }),
      join: null,
      address: "127.0.0.1:7001",
      data: "d",
      line: { host: "127.0.0.1", port: 8001 },
      http: { host: "127.0.0.1", port: 9001 },
      listen: { host: "127.0.0.1", port: 7001 },
      advertiseLine: null,
      advertiseHttp: null,
      clusterId: null,
      forward: false,
      snapshots: {},
      adminTokenFile: null,
      adminOpen: false,
      logLevel: "info",
    });
  });

  it("choose who may operate the cluster: a token's holder, this machine, or everyone", () => {
    const who = (...more: string[]): unknown => {
      const { adminTokenFile, adminOpen } = parseServeOptions([...args(), ...more]) ?? {};
      return [adminTokenFile, adminOpen];
    };
    expect(who("--admin-token-file", "t")).toEqual(["t", false]);
    expect(who("--admin-open")).toEqual([null, true]);
    vi.stubEnv("KEELSON_ADMIN_TOKEN_FILE", "environment");
    expect(who()).toEqual(["environment", false]);
    expect(who("--admin-token-file", "t")).toEqual(["t", false]);
    expect(who("--admin-open")).toEqual([null, true]);
    vi.unstubAllEnvs();
    expect(() => who("--admin-open", "--admin-token-file", "t")).toThrow(UsageError);
    expect(() => who("--admin-token-file", "")).toThrow(UsageError);
  });

  it("protect the connections between nodes by certificates, by a secret, or by both", () => {
    const secured = (...more: string[]): unknown => parseServeOptions([...args(), ...more])?.peerSecurity;
    const tls = ["--peer-tls-cert", "c", "--peer-tls-key", "k", "--peer-tls-ca", "a"];
    const files = { cert: { file: "c" }, key: { file: "k" }, ca: { file: "a" } };
    expect(secured()).toBeUndefined();
    expect(secured("--peer-secret-file", "s")).toEqual({ secret: { file: "s" } });
    expect(secured(...tls)).toEqual({ tls: files });
    expect(secured(...tls, "--peer-secret-file", "s")).toEqual({ tls: files, secret: { file: "s" } });
    expect(() => secured(...tls.slice(2))).toThrow("belong together: give all three");
    expect(() => secured("--peer-secret-file", "")).toThrow("--peer-secret-file is missing its file");
  });

  it("can make the node forward writes to the leader", () => {
    const { forward } = parseServeOptions([...args(), "--forward"]) ?? {};
    expect(forward).toBe(true);
  });

  it("can give the node one address to listen on and another to tell others", () => {
    const options = parseServeOptions(
      args({
        listen: "0.0.0.0:7001",
        line: "0.0.0.0:8001",
        "advertise-line": "a.example:1",
        "advertise-http": "a.example:2",
        "cluster-id": "c",
      }),
    );
    expect(options).toMatchObject({
      listen: { host: "0.0.0.0", port: 7001 },
      advertiseLine: "a.example:1",
      advertiseHttp: "a.example:2",
      clusterId: "c",
    });
  });

  it("can make the node join a cluster, or restart in the cluster of its data directory", () => {
    const joining = {
      peers: undefined,
      listen: "10.0.0.4:7001",
      join: "http://10.0.0.1:9001,10.0.0.2:9001/",
    };
    expect(parseServeOptions(args(joining))).toMatchObject({
      peers: null,
      join: ["10.0.0.1:9001", "10.0.0.2:9001"],
      listen: { host: "10.0.0.4", port: 7001 },
      address: "10.0.0.4:7001",
    });
    const again = { peers: undefined, listen: "0.0.0.0:7001", advertise: "n4.example:7001" };
    expect(parseServeOptions(args(again))).toMatchObject({
      peers: null,
      join: null,
      listen: { host: "0.0.0.0", port: 7001 },
      address: "n4.example:7001",
    });
  });

  it("choose when snapshots are taken", () => {
    const flags = {
      "snapshot-every": "500",
      "snapshot-every-bytes": "1000000",
      "snapshot-keep": "0",
      "snapshot-fetch-rate": "2000000",
    };
    expect(parseServeOptions(args(flags))?.snapshots).toEqual({
      everyEntries: 500,
      everyBytes: 1_000_000,
      keepEntries: 0,
      fetchBytesPerSecond: 2_000_000,
    });
  });

  it.each([
    [{ peers: undefined }, "--peers is missing (or --join, or --listen for a node that has a log already)"],
    [
      { peers: undefined, join: "h:1" },
      "--listen is missing: --join needs to know where the other nodes reach this one",
    ],
    [{ join: "h:1" }, "--peers founds a cluster and --join asks one that runs: give one of them"],
    [{ advertise: "h:1" }, "--advertise has no use with --peers, which says it already"],
    [
      { peers: undefined, listen: "0.0.0.0:7001" },
      "--listen 0.0.0.0:7001 listens everywhere; say with --advertise HOST:PORT where other nodes reach this node",
    ],
    [
      { peers: undefined, listen: "h:1", join: "ftp://h:1" },
      '--join: "ftp://h:1" is not http://HOST:PORT or https://HOST:PORT, such as http://127.0.0.1:9001',
    ],
    [{ id: undefined }, "--id is missing"],
    [{ id: "a b" }, '--id "a b": an id is 1 to 64 of A-Z a-z 0-9 . _ -'],
    [{ id: "n3" }, "--peers does not name this node, n3: it should have n3=HOST:PORT"],
    [{ peers: "n1" }, '--peers: "n1" is not ID=HOST:PORT, such as n1=127.0.0.1:7001'],
    [{ peers: "n1=h:1=2" }, '--peers: "n1=h:1=2" is not ID=HOST:PORT, such as n1=127.0.0.1:7001'],
    [{ peers: "n1=h:1,n1=h:2" }, "--peers names n1 twice"],
    [{ peers: "n1=h:1,n2=h:1" }, "--peers names h:1 twice"],
    [{ data: "" }, "--data is missing"],
    [{ line: "8001" }, '--line "8001" is not HOST:PORT, such as 127.0.0.1:8001'],
    [
      { http: "0.0.0.0:9001" },
      "--http 0.0.0.0:9001 listens everywhere; say with --advertise-http HOST:PORT where clients reach this node",
    ],
    [{ peers: "n1=h:1,n2=[::]:7002" }, "--peers: other nodes can't reach n2 at [::]:7002"],
    [{ reach: "n2=h:0" }, "--reach: other nodes can't reach n2 at h:0"],
    [
      { peers: undefined, listen: "h:1", advertise: "0.0.0.0:7001" },
      '--advertise "0.0.0.0:7001" can\'t be reached: it should be the address by which other nodes reach this node',
    ],
    [
      { "advertise-http": "h:0" },
      '--advertise-http "h:0" can\'t be reached: it should be the address by which clients reach this node',
    ],
    [{ "snapshot-every": "0" }, '--snapshot-every "0" is not a whole number from 1 on'],
    [{ "snapshot-keep": "1e3" }, '--snapshot-keep "1e3" is not a whole number from 0 on'],
    [{ "log-level": "loud" }, '--log-level "loud" is not one of debug, info, warn, error, silent'],
  ])("refuse %j and say what is wrong", (changes, message) => {
    expect(() => parseServeOptions(args(changes))).toThrow(new UsageError(message));
  });

  it("refuse a superfluous argument", () => {
    expect(() => parseServeOptions([...args(), "--prot", "1"])).toThrow(UsageError);
    expect(() => parseServeOptions([...args(), "--prot", "1"])).toThrow(/'--prot'/);
    expect(() => parseServeOptions([...args(), "more"])).toThrow(/'more'/);
  });

  it("can ask for the help only", () => {
    expect(parseServeOptions(["--help"])).toBeNull();
  });
});

describe("the flags of demo", () => {
  it("have defaults", () => {
    expect(parseDemoOptions([])).toEqual({
      data: "./data",
      ...{ raftPort: 7001, linePort: 8001, httpPort: 9001 },
      ...{ peerSecretFile: null, peerTls: null },
    });
  });

  it.each([
    [["--raft-port", "x"], '--raft-port "x" is not a port from 1 to 65533'],
    [["--raft-port", "65534"], '--raft-port "65534" is not a port from 1 to 65533'],
    [["--raft-port", "8003"], "the ports overlap: each of the three takes 3 in a row"],
    [["--data", ""], "--data is empty"],
    [["--peer-tls", ""], "--peer-tls is empty"],
  ])("refuse %j and say what is wrong", (flags, message) => {
    expect(() => parseDemoOptions(flags)).toThrow(new UsageError(message));
  });
});
