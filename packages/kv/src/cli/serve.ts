import pino, { type Logger } from "pino";
import { AlreadyInitializedError, RaftError } from "keelson";
import { tokenToSend } from "../shared/admin-token.ts";
import { AdminClient } from "../client/admin-client.ts";
import { formatAddress } from "../shared/addresses.ts";
import { DatabaseOpenError } from "../store/database.ts";
import { cannotListen, ListenError } from "../shared/listen.ts";
import type { ServeOptions } from "./serve-options.ts";
import { join } from "../server/join.ts";
import { KvServer, NoClusterError } from "../server/kv-server.ts";
import { StartError } from "../shared/errors.ts";

const STDERR = 2;

/** Signals by which people and supervisors end a process. */
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Runs one node until it is told to stop, and resolves with the exit code. */
export async function serve(options: ServeOptions): Promise<number> {
  const logger = pino(
    { level: options.logLevel, base: { id: options.id } },
    // At once, so that the last words of a process that ends are not lost.
    pino.destination({ dest: STDERR, sync: true }),
  );
  const stop = stopRequested();
  // "": none, whatever the environment says; that was looked at before.
  const token = await tokenToSend(options.adminTokenFile ?? "");
  const server = await start(options, logger);
  const { line, http } = server.addresses;
  logger.info({ raft: formatAddress(options.listen), line, http, pid: process.pid }, "serving");
  void followChanges(server, options, logger);
  const leaving = new AbortController();
  const refused = joinCluster(
    server,
    options,
    new AdminClient(options.join ?? [], token),
    logger,
    leaving.signal,
  );
  const end = await Promise.race([stop, server.stopped, refused]);
  leaving.abort();
  if (typeof end === "string") logger.info(`${end}: closing`);
  else if (end instanceof RaftError) logger.fatal({ code: end.code }, end.message);
  await server.close();
  if (end instanceof StartError) throw end;
  if (end instanceof RaftError) throw new StartError(end.message, { cause: end });
  logger.info("closed");
  return 0;
}

/** Resolves with the reason when someone wants the process to end; a second signal ends it at once. */
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
    // Whoever started us, as `keelson demo` does, is gone, perhaps killed.
    process.once("disconnect", () => {
      resolve("the parent process is gone");
    });
  });
}

async function start(options: ServeOptions, logger: Logger): Promise<KvServer> {
  try {
    return await KvServer.start(options, (level, text, { id: _, ...fields } = {}) => {
      // Every line names the node already.
      logger[level](fields, text);
    });
  } catch (error) {
    if (error instanceof AlreadyInitializedError) {
      const message = `--peers are not those that the cluster in ${options.data} began with; give the same as at the first start`;
      throw new StartError(`${message} (${error.message})`, { cause: error });
    }
    // These say what is wrong and what to do; anything else is a mistake of ours and keeps its stack.
    const isTold =
      error instanceof RaftError ||
      error instanceof DatabaseOpenError ||
      error instanceof ListenError ||
      error instanceof NoClusterError;
    // The servers for clients say so themselves: it is the address for the other nodes.
    if (isSystemError(error) && error.syscall === "listen")
      throw new StartError(cannotListen(options.listen, error), { cause: error });
    if (isTold || isSystemError(error)) throw new StartError(error.message, { cause: error });
    throw error;
  }
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && "syscall" in error;
}

/** Resolves with the reason if the cluster does not take this node in, and never otherwise. */
function joinCluster(
  { raft, isBlank }: KvServer,
  { id, join: nodes, address }: ServeOptions,
  client: AdminClient,
  logger: Logger,
  signal: AbortSignal,
): Promise<StartError> {
  return new Promise((resolve, reject) => {
    if (nodes === null) return;
    const tell = (text: string): void => {
      logger.info(text);
    };
    const clusterId = (): string | null => raft.metrics().clusterId;
    join({ id, address, isBlank, clusterId, client, tell, signal }).then(
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

async function followChanges({ raft }: KvServer, { id }: ServeOptions, logger: Logger): Promise<void> {
  let wasMember = false;
  for await (const change of raft.changes()) {
    switch (change.type) {
      case "role":
        logger.info({ role: change.role, term: change.term }, `now ${change.role}`);
        break;
      case "leader":
        logger.info(
          { leader: change.leader, term: change.term },
          change.leader === null ? "no leader is known" : `the leader is ${change.leader}`,
        );
        break;
      case "membership": {
        const { index, config } = change;
        const { voters, learners } = config;
        logger.info({ index, voters, learners }, "the members");
        const isMember = [...voters, ...config.outgoingVoters, ...learners].includes(id);
        if (wasMember && !isMember) {
          logger.warn(
            { index },
            "this node is no member of the cluster any more: it can be stopped, and its directory deleted",
          );
        }
        wasMember = isMember;
        break;
      }
      case "stopped":
        break;
    }
  }
}
