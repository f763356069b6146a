/** Work of a server at its documented limits, each part with the longest turn that it takes. */
import type { KvServer } from "../../packages/kv/src/server/kv-server.ts";
import { VALUE_BYTES_MAX } from "../../packages/kv/src/store/commands.ts";
import { FullServer, until, type FullServerOptions } from "./full-server.ts";
import { TurnMeter, type Turns } from "./turn-meter.ts";

/** The most that a turn may take: `docs/design/pitfalls.md`, Z19. */
export const TURN_MS_MAX = 20;

/** Default of `limits.pendingEntriesMax`. */
const PENDING_ENTRIES_MAX = 65_536;
/** What a caller writes in one turn. Its own turns are not the server's. */
const WRITES_PER_TURN = 64;
const BYTES_PER_TURN = VALUE_BYTES_MAX;

export interface Scenario {
  readonly name: string;
  /** Whether the test suite runs it too. The others take too long for that. */
  readonly isInSuite?: boolean;
  /** Runs it. Resolves with the longest turns. */
  readonly run: () => Promise<Turns>;
}

/** Sessions that live on for longer than any scenario takes. */
const ALIVE: FullServerOptions = { ttlMs: 3_600_000, keys: 20_000, valueBytes: 256 };
/** Sessions of which all expire at the first entry. */
const EXPIRING: FullServerOptions = { ...ALIVE, ttlMs: 1 };

export const SCENARIOS: readonly Scenario[] = [
  {
    name: "start with a full session table in a snapshot",
    isInSuite: true,
    run: () =>
      withDirectory(ALIVE, async (full) => {
        const meter = new TurnMeter();
        await full.start();
        return meter.stop();
      }),
  },
  {
    name: "start with a full session table in the database",
    run: () =>
      withDirectory(ALIVE, async (full) => {
        await (await full.start()).close();
        const meter = new TurnMeter();
        await full.start();
        return meter.stop();
      }),
  },
  {
    name: "a snapshot with a full session table, while sessions are used",
    isInSuite: true,
    run: () =>
      withServer(ALIVE, async (server) => {
        await put(server, 0);
        return measured(async () => {
          const using = useSessions(server);
          await server.raft.snapshot();
          await using.stop();
        });
      }),
  },
  {
    name: "a whole session table expires",
    isInSuite: true,
    run: () =>
      withServer(EXPIRING, async (server) =>
        measured(async () => {
          const session = await server.raft.beginSession();
          for (let at = 0; at < 200; at++) await put(server, at);
          // Every entry of a session removes a part; without any, the leader's own entries do it every few
          // seconds.
          for (let at = 0; server.raft.metrics().sessions.open > 1; at++) {
            if (at > 1000) throw new Error("the sessions do not expire");
            await server.raft.endSession(session.id).catch(() => undefined);
          }
        }),
      ),
  },
  {
    name: `${String(PENDING_ENTRIES_MAX)} small writes at once`,
    isInSuite: true,
    run: () =>
      withServer(ALIVE, (server) => measured(() => putMany(server, PENDING_ENTRIES_MAX - 1000, 100))),
  },
  {
    name: "60 writes of 1 MiB at once",
    run: () => withServer(ALIVE, (server) => measured(() => putMany(server, 60, VALUE_BYTES_MAX))),
  },
  {
    name: "a listing of 1,000 keys over HTTP",
    run: () =>
      withServer({ ...ALIVE, keys: 2000, valueBytes: 4096 }, (_server, full) =>
        measured(async () => {
          for (let at = 0; at < 5; at++) await (await fetch(`${full.http}/kv?limit=1000`)).text();
        }),
      ),
  },
  {
    name: "a second server fetches the snapshot and installs it (both servers in one process)",
    run: () =>
      withServer(ALIVE, async (server, full) => {
        await put(server, 0);
        await server.raft.snapshot();
        for (let at = 0; at < 12_000; at += 500) await putMany(server, 500, 100);
        await server.raft.snapshot();
        return measured(async () => {
          await full.startSecond(server);
        });
      }),
  },
  {
    name: `${String(PENDING_ENTRIES_MAX)} writes whose leader loses its majority`,
    isInSuite: true,
    run: () =>
      withServer(ALIVE, async (server, full) => {
        const second = await full.startSecond(server);
        if (server.raft.metrics().role !== "leader") await second.raft.transferLeadership("n1");
        await until(() => server.raft.metrics().role === "leader");
        await second.close();
        return measured(async () => {
          await putMany(server, PENDING_ENTRIES_MAX - 1000, 100);
        });
      }),
  },
];

async function withDirectory(
  options: FullServerOptions,
  run: (full: FullServer) => Promise<Turns>,
): Promise<Turns> {
  const full = await FullServer.prepare(options);
  try {
    return await run(full);
  } finally {
    await full.remove();
  }
}

function withServer(
  options: FullServerOptions,
  run: (server: KvServer, full: FullServer) => Promise<Turns>,
): Promise<Turns> {
  return withDirectory(options, async (full) => run(await full.start(), full));
}

async function measured(work: () => Promise<void>): Promise<Turns> {
  const meter = new TurnMeter();
  await work();
  return meter.stop();
}

function put(server: KvServer, at: number, bytes = 100): Promise<unknown> {
  const key = Buffer.from(`other-${String(at % 1000)}`);
  return server.raft.write({ type: "put", key, value: new Uint8Array(bytes), condition: null });
}

/** Begins that many writes, some in each turn, and resolves when all have ended in whatever way. */
async function putMany(server: KvServer, count: number, bytes: number): Promise<void> {
  const perTurn = Math.max(1, Math.min(WRITES_PER_TURN, Math.floor(BYTES_PER_TURN / bytes)));
  const { promise: allEnded, resolve } = Promise.withResolvers<undefined>();
  let open = count;
  // Not `Promise.all`: to subscribe to 65,536 promises takes a long turn, which is not the server's.
  const ended = (): void => {
    if (--open === 0) resolve(undefined);
  };
  for (let at = 0; at < count; at++) {
    put(server, at, bytes).then(ended, ended);
    if (at % perTurn === 0) await new Promise(setImmediate);
  }
  await allEnded;
}

/** Uses the sessions of the table, so that the table changes while something else reads it. */
function useSessions(server: KvServer): { stop(): Promise<void> } {
  let stopped = false;
  const write = async (): Promise<void> => {
    for (let at = 0; !stopped; at++) {
      const id = 1 + (at % 80) * 1025;
      const key = Buffer.from(`session-${String(at % 100)}`);
      const session = { id, sequence: 1, lowestUnanswered: 1 };
      await server.raft
        .write({ type: "put", key, value: new Uint8Array(100), condition: null }, { session })
        .catch(() => undefined);
    }
  };
  const writing = Promise.all(Array.from({ length: 16 }, write));
  return {
    async stop() {
      stopped = true;
      await writing;
    },
  };
}
