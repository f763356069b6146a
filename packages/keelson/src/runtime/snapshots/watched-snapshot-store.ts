// Watches all calls to the snapshot store.
import type { ComponentLog } from "../../log-event.ts";
import type { Environment } from "../../environment/environment.ts";
import type {
  IncomingSnapshot,
  OpenedSnapshots,
  SnapshotDraft,
  SnapshotHeader,
  SnapshotReader,
  SnapshotStore,
  StoredSnapshot,
} from "../../storage/snapshot-store.ts";
import type { StallWatch } from "../loop/index.ts";
import { watchedEnvironment } from "./watched-files.ts";

type Run = <T>(what: string, call: () => Promise<T>) => Promise<T>;

/**
 * Stands between the node and its snapshot store, and watches each call: a store that hangs must not go
 * unnoticed (Z15). Closing isn't watched: it comes with the end of the node, and `shutDown` limits the time
 * of each part's closing.
 */
export class WatchedSnapshotStore implements SnapshotStore {
  readonly #store: SnapshotStore;
  readonly #watch: StallWatch;
  readonly #run: Run;

  constructor(store: SnapshotStore, watch: StallWatch) {
    this.#store = store;
    this.#watch = watch;
    this.#run = (what, call) => watch.monitor("snapshot-store", what, call);
  }

  get newest(): StoredSnapshot | null {
    return this.#store.newest;
  }

  logTo(log: ComponentLog): void {
    this.#store.logTo?.(log);
  }

  open(environment: Environment): Promise<OpenedSnapshots> {
    const watched = watchedEnvironment(environment, this.#watch);
    return this.#run("opening it", () => this.#store.open(watched));
  }

  async create(
    header: Omit<SnapshotHeader, "id">,
    sessions: Parameters<SnapshotStore["create"]>[1],
  ): Promise<SnapshotDraft> {
    const run = this.#run;
    const draft = await run("beginning a snapshot", () => this.#store.create(header, sessions));
    return {
      write: (chunk) => run("writing to a snapshot", () => draft.write(chunk)),
      finish: () => run("finishing a snapshot", () => draft.finish()),
      abort: () => run("removing an unfinished snapshot", () => draft.abort()),
    };
  }

  async receive(id: string, bytes: number): Promise<IncomingSnapshot> {
    const incoming = await this.#run("beginning to receive a snapshot", () => this.#store.receive(id, bytes));
    return new WatchedIncoming(incoming, this.#run);
  }

  async read(id: string): Promise<SnapshotReader | null> {
    const reader = await this.#run("opening a snapshot", () => this.#store.read(id));
    return reader === null ? null : watchedReader(reader, this.#run);
  }

  discard(id: string): Promise<void> {
    return this.#run("removing a snapshot", () => this.#store.discard(id));
  }

  close(): Promise<void> {
    return this.#store.close();
  }
}

class WatchedIncoming implements IncomingSnapshot {
  readonly id: string;
  readonly bytes: number;
  readonly #incoming: IncomingSnapshot;
  readonly #run: Run;

  constructor(incoming: IncomingSnapshot, run: Run) {
    this.id = incoming.id;
    this.bytes = incoming.bytes;
    this.#incoming = incoming;
    this.#run = run;
  }

  get offset(): number {
    return this.#incoming.offset;
  }

  write(chunk: Uint8Array): Promise<void> {
    return this.#run("writing to a received snapshot", () => this.#incoming.write(chunk));
  }

  finish(): Promise<StoredSnapshot> {
    return this.#run("checking a received snapshot", () => this.#incoming.finish());
  }

  suspend(): Promise<void> {
    return this.#run("closing a received snapshot", () => this.#incoming.suspend());
  }

  abort(): Promise<void> {
    return this.#run("removing a received snapshot", () => this.#incoming.abort());
  }
}

function watchedReader(reader: SnapshotReader, run: Run): SnapshotReader {
  return {
    snapshot: reader.snapshot,
    read: (offset, bytes) => run("reading from a snapshot", () => reader.read(offset, bytes)),
    verify: () => run("checking a snapshot", () => reader.verify()),
    sessions: () => watchedChunks("reading the sessions in a snapshot", reader.sessions(), run),
    state: () => watchedChunks("reading the state in a snapshot", reader.state(), run),
    close: () => run("closing a snapshot", () => reader.close()),
  };
}

/**
 * Watches how long the store takes for each chunk. How long the caller takes between two chunks isn't
 * watched: a slow caller is no fault of the store.
 */
async function* watchedChunks(
  what: string,
  all: AsyncIterable<Uint8Array>,
  run: Run,
): AsyncGenerator<Uint8Array, void, undefined> {
  const chunks = all[Symbol.asyncIterator]();
  try {
    for (;;) {
      const chunk = await run(what, () => chunks.next());
      if (chunk.done === true) return;
      yield chunk.value;
    }
  } finally {
    await chunks.return?.();
  }
}
