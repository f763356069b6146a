import pino, { type Logger } from "pino";
import { AlreadyInitializedError, RaftError } from "keelson";
import { formatAddress } from "./addresses.ts";
import { DatabaseOpenError } from "./database.ts";
import { ListenError } from "./listen.ts";
import type { ServeOptions } from "./serve-options.ts";
import { KvServer } from "./server.ts";
import { StartError } from "./usage.ts";

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
  const server = await start(options, logger);
  const { line, http } = server.addresses;
  logger.info({ raft: formatAddress(options.listen), line, http, pid: process.pid }, "serving");
  void followChanges(server, logger);
  const end = await Promise.race([stop, server.stopped]);
  if (typeof end === "string") logger.info(`${end}: closing`);
  else if (end !== undefined) logger.fatal({ code: end.code }, end.message);
  await server.close();
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
      error instanceof RaftError || error instanceof DatabaseOpenError || error instanceof ListenError;
    if (isTold || isSystemError(error)) throw new StartError(error.message, { cause: error });
    throw error;
  }
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && "syscall" in error;
}

async function followChanges({ raft }: KvServer, logger: Logger): Promise<void> {
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
      case "membership":
        logger.info({ index: change.index, voters: change.config.voters }, "the members");
        break;
      case "stopped":
        break;
    }
  }
}
