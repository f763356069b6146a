/**
 * One node of the key-value store: puts the library, the state machine, the log, the snapshots and the
 * transport together, and serves clients over HTTP and the line protocol.
 */
import {
  AlreadyInitializedError,
  Raft,
  type LogEvent,
  type LogLevel,
  type RaftError,
  type RaftOptions,
  type Transport,
} from "keelson";
import { snapshotFiles, type SnapshotStore } from "keelson/storage/snapshots";
import { discardUnusedLog, wal } from "keelson/storage/wal";
import { tcp } from "keelson/transport/tcp";
import type { Access } from "../access/access.ts";
import {
  encodeClientAddresses,
  formatAddress,
  parseAddress,
  type ClientAddresses,
} from "../shared/addresses.ts";
import { ClientConnections } from "../shared/client-connections.ts";
import { readFileOf } from "../shared/secret-file.ts";
import { StartError } from "../shared/errors.ts";
import { serverBudgets } from "../shared/memory-budget.ts";
import type { KvCommand, KvResult } from "../store/commands.ts";
import { HttpServer } from "../http/http-server.ts";
import { dataDirectory } from "../node/data-directory.ts";
import { LineServer } from "../line/line-server.ts";
import { kvNodeOf } from "../node/kv-node.ts";
import { ServerTls } from "../tls/server-tls.ts";
import { openAccess } from "./access-files.ts";
import { exposuresOf } from "./exposure.ts";
import type { ServerSettings } from "./server-settings.ts";
import { StateDirectory } from "../store/state-directory.ts";
import { KvStateMachine } from "../store/state-machine.ts";

/** Receives the log lines of the node and the server. */
export type LogFunction = (level: LogLevel, text: string, fields?: Readonly<Record<string, unknown>>) => void;

/** The node's directory is empty, and the settings name no cluster to create or join. */
export class NoClusterError extends Error {
  override readonly name = "NoClusterError";
  constructor() {
    super(
      "this node belongs to no cluster yet: its data directory is empty. Say with --peers which one it begins, or with --join which one it joins",
    );
  }
}

/** A running node with its two servers. */
export class KvServer {
  readonly #line: LineServer;
  readonly #http: HttpServer;
  readonly #raft: Raft<KvCommand, KvResult>;
  /** Whether the log was empty when the node started. */
  readonly startedEmpty: boolean;
  /** Set by the first `close`. */
  #closing: Promise<void> | null = null;

  /** Ends the following of files. */
  readonly #stopFollowing: () => void;

  private constructor(
    line: LineServer,
    http: HttpServer,
    raft: Raft<KvCommand, KvResult>,
    startedEmpty: boolean,
    stopFollowing: () => void,
  ) {
    this.#line = line;
    this.#http = http;
    this.#raft = raft;
    this.startedEmpty = startedEmpty;
    this.#stopFollowing = stopFollowing;
  }

  /**
   * Starts the node. Resolves when clients are served, which may be before there is a leader. If it rejects,
   * everything that was opened is closed again.
   *
   * @throws NoClusterError, ListenError, DatabaseOpenError, StartError, RaftError
   */
  static async start(settings: ServerSettings, onLog: LogFunction): Promise<KvServer> {
    try {
      return await KvServer.#startOnce(settings, onLog);
    } catch (error) {
      if (!(error instanceof AlreadyInitializedError) || settings.peers === null) throw error;
      await beginAnew(settings, settings.peers, error, onLog);
      return await KvServer.#startOnce(settings, onLog);
    }
  }

  static async #startOnce(settings: ServerSettings, onLog: LogFunction): Promise<KvServer> {
    const closers: (() => Promise<void>)[] = [];
    const followed: { readonly close: () => void }[] = [];
    const stopFollowing = (): void => {
      for (const one of followed) one.close();
    };
    try {
      await checkPeerFiles(settings);
      const { access, tls } = await secure(settings, followed, onLog);
      // Take the addresses first. If one is in use, nothing on disk has changed yet.
      const shared = {
        connections: new ClientConnections(undefined, (text) => {
          onLog("warn", text, {});
        }),
        budgets: serverBudgets(),
        access,
        ...(tls === null ? {} : { tls }),
      };
      const line = await LineServer.listen(settings.line, {}, shared);
      closers.push(() => line.close());
      const onInternalError = (error: unknown): void => {
        onLog("error", "a request failed through a mistake of this program", { error });
      };
      const names = httpNamesOf(settings);
      const http = await HttpServer.listen(settings.http, { onInternalError, names, ...shared });
      closers.push(() => http.close());
      const state = new StateDirectory(dataDirectory(settings.data).state, (text) => {
        onLog("warn", text);
      });
      const store = new KvStateMachine((progress) => state.openDatabase(progress), { recovery: state });
      const snapshots = snapshotFiles(dataDirectory(settings.data).snapshots);
      const raft = await Raft.open(raftOptions(settings, { line, http }, store, snapshots, onLog));
      closers.push(() => raft.close());
      const startedEmpty = raft.metrics().lastIndex === 0;
      // A node without a log asks the others first (`RaftOptions.members`): it may have lost its disk.
      if (settings.peers !== null) {
        if (!startedEmpty) await raft.initialize(settings.peers);
      } else if (startedEmpty && settings.join === null && raft.metrics().clusterId === null) {
        throw new NoClusterError();
      }
      const serving = { node: kvNodeOf(raft, settings.forward), store, snapshots };
      line.serve(serving);
      http.serve(serving);
      for (const text of exposuresOf(settings)) onLog("warn", text);
      return new KvServer(line, http, raft, startedEmpty, stopFollowing);
    } catch (error) {
      stopFollowing();
      for (const close of closers.reverse()) await close();
      throw error;
    }
  }

  /** Where the two servers listen. */
  get addresses(): ClientAddresses {
    return { line: this.#line.address, http: this.#http.address };
  }

  /** The node itself. */
  get raft(): Raft<KvCommand, KvResult> {
    return this.#raft;
  }

  /** Resolves when the node has stopped; with the error if it failed. */
  get stopped(): Promise<RaftError | undefined> {
    return this.#raft.stopped;
  }

  /** Closes the servers first and then the node, so that requests under way get their answers. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= (async () => {
      await Promise.all([this.#line.close(), this.#http.close()]);
      this.#stopFollowing();
      await this.#raft.close();
    })();
    return this.#closing;
  }
}

/**
 * Called if the list in `--peers` isn't the one with which this node created its cluster. If only addresses
 * were corrected, and the cluster has not had an election yet, removes the log, so that the node can start
 * again with the new list (`discardUnusedLog` has the exact condition).
 *
 * @throws StartError the node has to keep its log. The message says why, and what to do instead
 */
async function beginAnew(
  { id, data }: ServerSettings,
  peers: Readonly<Record<string, string>>,
  cause: AlreadyInitializedError,
  onLog: LogFunction,
): Promise<void> {
  const { isDiscarded, reason, firstMembers } = await discardUnusedLog(dataDirectory(data).log, {
    members: peers,
  });
  const before = firstMembers === null ? null : listOf(firstMembers);
  if (isDiscarded) {
    onLog("warn", `${id} begins anew with the corrected --peers: nothing had come of ${String(before)}`);
    return;
  }
  const others = Object.keys(peers).filter((other) => other !== id);
  const reach = others.map((other) => `${other}=HOST:PORT`).join(",");
  throw new StartError(
    `--peers are not those that the cluster in ${data} began with` +
      (before === null ? "" : `, ${before}`) +
      `, and ${reason}. If --peers was mistyped, give it as it was at the first start. If members have other addresses ` +
      `now, leave --peers out: give --listen, and --reach ${reach} to say where the others are now. Once there is a ` +
      "leader, record that with keelson move ID ADDRESS",
    { cause },
  );
}

/** The members as text, in the form of the option `--peers`. */
function listOf(members: Readonly<Record<string, string>>): string {
  return Object.entries(members)
    .map(([id, address]) => `${id}=${address}`)
    .join(",");
}

function raftOptions(
  settings: ServerSettings,
  servers: { readonly line: LineServer; readonly http: HttpServer },
  stateMachine: KvStateMachine,
  snapshots: SnapshotStore,
  onLog: LogFunction,
): RaftOptions<KvCommand, KvResult> {
  const { id, clusterId } = settings;
  const info = encodeClientAddresses({
    line: settings.advertiseLine ?? servers.line.address,
    http: settings.advertiseHttp ?? servers.http.address,
    ...((settings.tls ?? null) === null ? {} : { tls: true as const }),
  });
  const options = {
    id,
    stateMachine,
    log: wal(dataDirectory(settings.data).log),
    snapshots: { store: snapshots, ...settings.snapshots },
    transport: transportOf(settings),
    forward: settings.forward,
    info,
    onLog: ({ level, text, component, fields }: LogEvent) => {
      onLog(level, text, { component, ...fields });
    },
    ...(settings.peers === null ? {} : { members: settings.peers }),
    ...(settings.reach === undefined ? {} : { reachAt: settings.reach }),
  };
  return clusterId === null ? options : { ...options, clusterId };
}

/** The hosts of this node's addresses, by which clients may call it. */
function httpNamesOf({ advertiseHttp, address, httpNames = [] }: ServerSettings): string[] {
  const addresses = [address, ...(advertiseHttp === null ? [] : [advertiseHttp])];
  const hosts = addresses.map((text) => parseAddress(text)?.host).filter((host) => host !== undefined);
  return [...hosts, ...httpNames];
}

/**
 * Reads the files of tokens and certificates, and follows them. What must be closed is added to `followed`.
 */
async function secure(
  settings: ServerSettings,
  followed: { readonly close: () => void }[],
  onLog: LogFunction,
): Promise<{ readonly access: Access; readonly tls: ServerTls | null }> {
  const onReload = (level: "info" | "warn", text: string): void => {
    onLog(level, text);
  };
  const opened = await openAccess(settings, onReload);
  followed.push(opened);
  const files = settings.tls ?? null;
  if (files === null) return { access: opened.access, tls: null };
  const tls = await ServerTls.open(files, onReload, settings.reloadMs);
  followed.push(tls);
  return { access: opened.access, tls };
}

/** Refuses a key or secret of the node that other users of the machine can read. @throws StartError */
async function checkPeerFiles({ peerSecurity: { tls, secret } = {} }: ServerSettings): Promise<void> {
  if (typeof tls?.key === "object") await readFileOf(tls.key.file, "the key for the other nodes");
  if (typeof secret === "object" && "file" in secret)
    await readFileOf(secret.file, "the secret of the nodes");
}

function transportOf({ listen, address, peerSecurity }: ServerSettings): Transport {
  const bound = formatAddress(listen);
  const advertise = address === bound ? {} : { advertise: address };
  return tcp({ listen: bound, ...advertise, ...peerSecurity });
}
