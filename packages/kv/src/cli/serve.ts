/** `keelson serve`: runs one node as a process, with a log, signals and exit codes. */
import pino, { type Logger } from "pino";
import { ListenFailedError, RaftError } from "keelson";
import { AdminClient } from "../client/admin-client.ts";
import { formatAddress } from "../shared/addresses.ts";
import { DatabaseOpenError } from "../store/database.ts";
import { cannotListen, ListenError } from "../shared/listen.ts";
import { readCredentials, type Credentials } from "./arguments.ts";
import type { ServeOptions } from "./serve-options.ts";
import { join } from "../server/join.ts";
import { KvServer, NoClusterError } from "../server/kv-server.ts";
import { StartError } from "../shared/errors.ts";
import { StateDamagedError } from "../store/state-layout.ts";

const STDERR = 2;

/**
 * Bytes of log lines that are kept while they can't be written, to be written later. Further lines are
 * dropped.
 */
const UNWRITTEN_LOG_BYTES_MAX = 1024 * 1024;

/**
 * How often one process rebuilds a damaged state. A disk or memory that damages it again and again needs a
 * person, and each rebuild takes the node away from its cluster for a while.
 */
const REBUILDS_MAX = 3;

/** The signals by which a terminal or a supervisor ends a process. */
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Runs one node until a signal, the parent's end, a failure of the node, or a refusal to let it join.
 * Resolves with the exit code.
 *
 * @throws StartError the node could not start, or had to stop
 */
export async function serve(options: ServeOptions): Promise<number> {
  const logger = pino({ level: options.logLevel, base: { id: options.id } }, logDestination());
  const stop = stopRequested();
  const credentials = await credentialsToJoin(options);
  for (let rebuilds = 0; ; rebuilds++) {
    const end = await serveOnce(options, { logger, stop, credentials });
    if (end === null) return 0;
    if (!isDamagedState(end)) throw end;
    if (rebuilds === REBUILDS_MAX) {
      throw new StartError(
        `${end.message}. The state was rebuilt ${rebuilds} times and is damaged again: check the disk and the memory of this machine`,
        { cause: end },
      );
    }
    logger.warn("opening the node again, to rebuild its state from the log and the snapshot");
  }
}

/**
 * Where the log is written. A line that can't be written, because the disk is full or the terminal was
 * closed, must not end the node: without a listener, each call of the logger would throw.
 */
function logDestination(): ReturnType<typeof pino.destination> {
  // Write synchronously: when the process ends, buffered lines would be lost, the reason among them.
  const destination = pino.destination({ dest: STDERR, sync: true, maxLength: UNWRITTEN_LOG_BYTES_MAX });
  destination.on("error", () => undefined);
  return destination;
}

/** `parseServeOptions` has applied the environment variable already; "" means no token. */
async function credentialsToJoin({
  join: nodes,
  joining,
  adminTokenFile,
}: ServeOptions): Promise<Credentials> {
  if (nodes === null) return { token: null, tls: {} };
  return readCredentials({ ...joining, tokenFile: joining?.tokenFile ?? adminTokenFile ?? "" });
}

interface Process {
  readonly logger: Logger;
  /** Resolves with the reason when the process is asked to end. */
  readonly stop: Promise<string>;
  /** For `--join`. */
  readonly credentials: Credentials;
}

/** Runs the node until it ends. Resolves with the error if it had to stop. */
async function serveOnce(
  options: ServeOptions,
  { logger, stop, credentials }: Process,
): Promise<StartError | null> {
  const server = await start(options, logger);
  const { line, http } = server.addresses;
  logger.info({ raft: formatAddress(options.listen), line, http, pid: process.pid }, "serving");
  const leaderless = setTimeout(() => {
    const text = leaderlessText(server, options);
    if (text !== null) logger.info(text);
  }, LEADERLESS_MS);
  const leaving = new AbortController();
  const refused = joinCluster(
    server,
    options,
    new AdminClient(options.join ?? [], credentials),
    logger,
    leaving.signal,
  );
  const end = await endOf(Promise.race([stop, server.stopped, refused]), server).finally(() => {
    clearTimeout(leaderless);
    leaving.abort();
  });
  if (typeof end === "string") logger.info(`${end}: closing`);
  else if (end instanceof RaftError) logger.fatal({ code: end.code }, end.message);
  await server.close();
  if (end instanceof StartError) return end;
  if (end instanceof RaftError) return new StartError(end.message, { cause: end });
  logger.info("closed");
  return null;
}

/**
 * Resolves with how the node ended, as `end` does. If `end` rejects, which is a bug, closes the server first:
 * it would keep the process alive.
 */
async function endOf<T>(end: Promise<T>, server: KvServer): Promise<T> {
  try {
    return await end;
  } catch (error) {
    await server.close();
    throw error;
  }
}

/** If a node knows no leader this long after its start, it logs what it waits for. */
const LEADERLESS_MS = 800;

function leaderlessText({ raft }: KvServer, { join: nodes }: ServeOptions): string | null {
  const { leader, config } = raft.metrics();
  if (leader !== null) return null;
  const voters = config.voters.join(", ");
  if (voters !== "") {
    return `waiting for a leader: a majority of the voters ${voters} has to run and reach each other`;
  }
  return nodes === null
    ? "waiting for a member of the cluster to call this node: it was told of none, and has no log yet"
    : "waiting for the cluster to take this node in";
}

/**
 * Whether the node stopped because its state is damaged. When the node closed, it marked the state as
 * damaged, so the next start rebuilds it.
 */
function isDamagedState(end: StartError): boolean {
  return end.cause instanceof RaftError && end.cause.cause instanceof StateDamagedError;
}

/** Resolves with the reason when the process is asked to end. A second signal ends it at once. */
function stopRequested(): Promise<string> {
  return new Promise((resolve) => {
    let count = 0;
    for (const signal of SIGNALS) {
      process.on(signal, () => {
        count += 1;
        if (count > 1) process.exit(1);
        resolve(signal);
      });
    }
    // The parent process opened a channel to us, as `keelson demo` does, and has ended, perhaps killed.
    process.once("disconnect", () => {
      resolve("the parent process is gone");
    });
  });
}

/** Starts the node, and turns errors that the user can fix into `StartError`. */
async function start(options: ServeOptions, logger: Logger): Promise<KvServer> {
  try {
    return await KvServer.start(options, (level, text, fields = {}) => {
      logger[level](fields, text);
    });
  } catch (error) {
    // The messages of these errors tell the user what to do. Anything else is a bug and keeps its stack.
    const isTold =
      error instanceof RaftError ||
      error instanceof DatabaseOpenError ||
      error instanceof ListenError ||
      error instanceof NoClusterError;
    // The two servers throw `ListenError`, the transport an error of the library.
    if (error instanceof ListenFailedError && isSystemError(error.cause))
      throw new StartError(cannotListen(options.listen, error.cause), { cause: error });
    if (isTold || isSystemError(error)) throw new StartError(error.message, { cause: error });
    throw error;
  }
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && "syscall" in error;
}

/** Joins the cluster of `--join`. Resolves with the reason if it refuses this node, and otherwise never. */
function joinCluster(
  { raft, startedEmpty }: KvServer,
  { id, join: nodes, address }: ServeOptions,
  client: AdminClient,
  logger: Logger,
  signal: AbortSignal,
): Promise<StartError> {
  return new Promise((resolve, reject) => {
    if (nodes === null) return;
    logger.info(`joining: asking ${nodes.join(", ")}`);
    const report = (text: string): void => {
      logger.info(text);
    };
    const clusterId = (): string | null => raft.metrics().clusterId;
    join({ id, address, startedEmpty, clusterId, client, report, signal }).then(
      () => {
        if (!signal.aborted)
          logger.info({ cluster: raft.metrics().clusterId }, "joined: a voter of the cluster");
      },
      (error: unknown) => {
        if (error instanceof StartError) resolve(error);
        else reject(error instanceof Error ? error : new Error(String(error)));
      },
    );
  });
}
