// What the cases of the snapshot store suite share: a store on a place of its own, snapshots, and
// expectations.
import { strict as assert } from "node:assert";
import { encodeMembership } from "../../../codec/config.ts";
import { configOf } from "../../../core/config.ts";
import type { LogIndex } from "../../../core/position.ts";
import type { Environment } from "../../../environment/environment.ts";
import { RaftError } from "../../../errors.ts";
import type {
  OpenedSnapshots,
  SnapshotHeader,
  SnapshotReader,
  SnapshotStore,
  StoredSnapshot,
} from "../../../storage/snapshot-store.ts";

/** A place for the snapshots of one node. Each case gets a new one, and some get two. */
export interface SnapshotStorePlace {
  readonly environment: Environment;
  /**
   * A new store on this place. If it is called again after the store before was closed, the new store must
   * find the same snapshots.
   */
  store(): SnapshotStore;
  /** Called at the end of the case. */
  dispose?(): Promise<void>;
}

/** One promise of the `SnapshotStore` interface, as a test that any framework can run. */
export interface SnapshotStoreCase {
  readonly name: string;
  /** Resolves if the store keeps the promise, and rejects with what is wrong. */
  readonly run: (makePlace: () => Promise<SnapshotStorePlace>) => Promise<void>;
}

/** A state of several blocks, in which each place differs from those around it. */
export const LARGE_STATE: Uint8Array<ArrayBuffer> = Uint8Array.from(
  { length: 700_001 },
  (_, at) => (at * 7) ^ (at >> 8),
);

/** How many bytes of a file are sent at a time in these cases. */
const CHUNK_BYTES = 100_000;

/** An open store on its place, with shorthands for the cases. */
export class SnapshotBench {
  readonly place: SnapshotStorePlace;
  store: SnapshotStore;
  found: OpenedSnapshots;

  private constructor(place: SnapshotStorePlace, store: SnapshotStore, found: OpenedSnapshots) {
    this.place = place;
    this.store = store;
    this.found = found;
  }

  static async open(place: SnapshotStorePlace): Promise<SnapshotBench> {
    const store = place.store();
    return new SnapshotBench(place, store, await store.open(place.environment));
  }

  async reopen(): Promise<OpenedSnapshots> {
    await this.store.close();
    this.store = this.place.store();
    this.found = await this.store.open(this.place.environment);
    return this.found;
  }

  /** The id of the newest snapshot; null: there is none. */
  get newestId(): string | null {
    return this.store.newest?.id ?? null;
  }

  /** Takes a snapshot of this state. */
  async take(index: LogIndex, state: string | Uint8Array, sessions = ""): Promise<StoredSnapshot> {
    const draft = await this.store.create(headerAt(index), [bytesOf(sessions)]);
    await draft.write(bytesOf(state));
    return draft.finish();
  }

  /** Opens a snapshot that must be there. */
  async read(id: string): Promise<SnapshotReader> {
    const reader = await this.store.read(id);
    assert.ok(reader !== null, `there is no snapshot ${id}`);
    return reader;
  }

  /** Fails unless the snapshot holds this state. */
  async expectState(id: string, state: string | Uint8Array): Promise<void> {
    const reader = await this.read(id);
    await reader.verify();
    expectSameBytes(await joined(reader.state()), bytesOf(state));
    await reader.close();
  }

  /** The whole file, read in chunks as another node asks for them. */
  async fileOf({ id, bytes }: StoredSnapshot): Promise<Uint8Array> {
    const reader = await this.read(id);
    const chunks: Uint8Array[] = [];
    for (let offset = 0; offset < bytes; offset += CHUNK_BYTES) {
      chunks.push(await reader.read(offset, CHUNK_BYTES));
    }
    await reader.close();
    return Buffer.concat(chunks);
  }

  /** Receives a file whole. */
  async receive({ id }: SnapshotHeader, file: Uint8Array): Promise<StoredSnapshot> {
    const incoming = await this.store.receive(id, file.length);
    await incoming.write(file.subarray(incoming.offset));
    return incoming.finish();
  }
}

/** A case that gets an open store, and closes it at the end. `openOther` opens another node's store. */
export function define(
  name: string,
  test: (bench: SnapshotBench, openOther: () => Promise<SnapshotBench>) => Promise<void>,
): SnapshotStoreCase {
  return {
    name,
    async run(makePlace) {
      const benches: SnapshotBench[] = [];
      const openBench = async (): Promise<SnapshotBench> => {
        const bench = await SnapshotBench.open(await makePlace());
        benches.push(bench);
        return bench;
      };
      try {
        await test(await openBench(), openBench);
      } finally {
        for (const { store, place } of benches) {
          await store.close();
          await place.dispose?.();
        }
      }
    },
  };
}

/** The header of a snapshot of this entry. */
export function headerAt(index: LogIndex): Omit<SnapshotHeader, "id"> {
  const members = new Map(["a", "b"].map((id) => [id, { address: `${id}:7000` }]));
  const membership = encodeMembership({ config: configOf(["a", "b"]), members });
  return { clusterId: "c1", position: { index, term: 3 }, membership };
}

/** A text as bytes; bytes as they are. */
export function bytesOf(content: string | Uint8Array): Uint8Array {
  return typeof content === "string" ? Buffer.from(content) : content;
}

/** All chunks in one. A chunk's buffer may be used again for the next one. */
export async function joined(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const copies: Uint8Array[] = [];
  for await (const chunk of chunks) copies.push(chunk.slice());
  return Buffer.concat(copies);
}

/** Fails unless both hold the same bytes. */
export function expectSameBytes(actual: Uint8Array, expected: Uint8Array): void {
  assert.equal(actual.length, expected.length);
  assert.equal(Buffer.compare(actual, expected), 0, "the bytes differ");
}

/** Fails unless the promise rejects with an error of this code. */
export async function expectCode(promise: Promise<unknown>, code: string): Promise<void> {
  const thrown = await promise.then(
    () => assert.fail(`it resolved, and should have rejected with ${code}`),
    (error: unknown) => error,
  );
  assert.equal(thrown instanceof RaftError ? thrown.code : String(thrown), code);
}
