import { describe, expect, it, vi } from "vitest";
import { seededRandom } from "../../environment/simulated/simulated-clock.ts";
import {
  SimulatedFiles,
  type FileFault,
  type FileOperation,
} from "../../environment/simulated/simulated-files.ts";
import { simulatedEnvironment } from "../../environment/simulated/simulated-environment.ts";
import type { LogStore, StoredLog } from "../log-store.ts";
import { wal } from "./index.ts";
import { EMPTY_MODEL, entries, observe, WORKLOAD, write, type Call, type Model } from "./test/model.ts";

// A test makes hundreds of crashes: seconds on an idle machine, more on a busy one.
vi.setConfig({ testTimeout: 60_000 });

const DIRECTORY = "/data/a";

function openLog(files: SimulatedFiles): Promise<{ store: LogStore; found: StoredLog }> {
  const store = wal(DIRECTORY, { segmentBytes: 4096 });
  const opened = store.open({ nodeId: "a", clusterId: null }, simulatedEnvironment({ files: files.mount() }));
  return opened.then((found) => ({ store, found }));
}

/** How far a workload got. */
interface Course {
  /** What the log should hold before the first call and after each one. */
  readonly models: Model[];
  /** How many calls were acknowledged. */
  acknowledged: number;
  /** The errors of the rejected calls. */
  readonly errors: unknown[];
}

function newCourse(): Course {
  return { models: [EMPTY_MODEL], acknowledged: 0, errors: [] };
}

/**
 * Makes the calls, and counts which were acknowledged. After a rejected call, the next group is not begun.
 */
async function perform(store: LogStore, groups: readonly (readonly Call[])[], course: Course): Promise<void> {
  for (const group of groups) {
    if (course.errors.length > 0) return;
    await Promise.all(
      group.map(async (call) => {
        const written = call.onStore(store);
        course.models.push(call.onModel(course.models.at(-1)!));
        const number = course.models.length - 1;
        try {
          await written;
          // Acknowledgements come in order, so each covers all calls before it.
          expect(course.errors).toEqual([]);
          course.acknowledged = number;
        } catch (error) {
          course.errors.push(error);
        }
      }),
    );
  }
}

/** Runs `body` with a power cut at disk operation `at`. False: it made fewer operations. */
async function untilPowerCut(files: SimulatedFiles, at: number, body: () => Promise<void>): Promise<boolean> {
  const first = files.operations;
  let cut = (): void => undefined;
  const isCut = new Promise<boolean>((resolve) => {
    cut = () => resolve(true);
  });
  files.intercept = ({ number }) => {
    if (number - first !== at) return null;
    cut();
    return { type: "power-cut" };
  };
  const happened = await Promise.race([isCut, body().then(() => false)]);
  // Let everything in progress get as far as it can.
  await new Promise((resolve) => setImmediate(resolve));
  files.intercept = null;
  return happened;
}

function expectKept(course: Course, seen: Model): number {
  const allowed = course.models.slice(course.acknowledged);
  const at = allowed.findIndex((model) => JSON.stringify(model) === JSON.stringify(seen));
  if (at < 0)
    expect(seen, `nothing acknowledged (${String(course.acknowledged)}) may be lost`).toEqual(allowed[0]);
  return course.acknowledged + at;
}

/** Opens what a crash left, and checks what it holds, that it stays so, and that the log works. */
async function expectRecovery(files: SimulatedFiles, course: Course, random: () => number): Promise<void> {
  const { store, found } = await openLog(files);
  const seen = await observe(found, store);
  expectKept(course, seen);

  // Whatever `open` returned is durable, because the core relies on it.
  files.crash(random);
  const again = await openLog(files);
  expect(await observe(again.found, again.store)).toEqual(seen);

  const last = again.found.lastIndex;
  await write({ records: entries(last + 1, last + 3, 50, 700) }).onStore(again.store);
  files.crash(random);
  const more = await openLog(files);
  expect(more.found.lastIndex).toBe(last + 2);
  expect((await observe(more.found, more.store)).entries.slice(0, -2)).toEqual(seen.entries);
  await more.store.close();
}

/** The disk operations of the workload when nothing fails. */
async function listOperations(): Promise<FileOperation[]> {
  const files = new SimulatedFiles();
  const operations: FileOperation[] = [];
  files.intercept = (operation) => {
    operations.push(operation);
    return null;
  };
  const { store } = await openLog(files);
  await perform(store, WORKLOAD, newCourse());
  await store.close();
  return operations;
}

describe("the WAL, when the power fails,", () => {
  it("keeps every acknowledged write, and no part of a batch, at every disk operation (D7)", async () => {
    const total = (await listOperations()).length;
    expect(total).toBeGreaterThan(100);
    for (let at = 1; at <= total; at++) {
      for (const seed of [1, 2]) {
        const files = new SimulatedFiles();
        const random = seededRandom(at * 10 + seed);
        const course = newCourse();
        const cut = await untilPowerCut(files, at, async () => {
          const { store } = await openLog(files);
          await perform(store, WORKLOAD, course);
          await store.close();
        });
        expect(cut).toBe(true);
        files.crash(random);
        await expectRecovery(files, course, random);
      }
    }
  });

  it("keeps them if the power fails again at every disk operation of the recovery (D13)", async () => {
    const total = (await listOperations()).length;
    for (let at = 20; at <= total; at += 11) {
      const files = new SimulatedFiles();
      const random = seededRandom(at);
      const course = newCourse();
      await untilPowerCut(files, at, async () => {
        const { store } = await openLog(files);
        await perform(store, WORKLOAD, course);
        await store.close();
      });
      files.crash(random);
      for (let step = 1; ; step++) {
        const disk = files.copy();
        const cut = await untilPowerCut(disk, step, async () => {
          const { store } = await openLog(disk);
          await store.close();
        });
        if (!cut) break;
        disk.crash(random);
        await expectRecovery(disk, course, random);
      }
    }
  });
});

describe("the WAL, when its process is killed,", () => {
  it("makes what it finds durable before opening resolves", async () => {
    const total = (await listOperations()).length;
    for (let at = 1; at <= total; at++) {
      const files = new SimulatedFiles();
      const course = newCourse();
      await untilPowerCut(files, at, async () => {
        const { store } = await openLog(files);
        await perform(store, WORKLOAD, course);
        await store.close();
      });
      files.kill();
      await expectRecovery(files.copy(), course, seededRandom(at));

      // What is written next must be durable, and so must the segment's name.
      const { store, found } = await openLog(files);
      const seen = await observe(found, store);
      const hardState = { term: 60, votedFor: "z" };
      await write({ hardState }).onStore(store);
      files.crash(seededRandom(at));
      const again = await openLog(files);
      expect(await observe(again.found, again.store)).toEqual({ ...seen, hardState });
    }
  });
});

describe("the WAL, when a disk operation fails,", () => {
  const faults: Record<string, (operation: FileOperation) => FileFault | null> = {
    "with an input/output error": () => ({ type: "error", code: "EIO" }),
    "because the disk is full": ({ type }) =>
      ["write", "allocate", "open"].includes(type) ? { type: "error", code: "ENOSPC" } : null,
    "after part of a write": ({ type }) =>
      type === "write" ? { type: "short-write", bytes: 700, code: "ENOSPC" } : null,
    "and a sync loses what it should have written": ({ type }) =>
      type === "data-sync" ? { type: "failed-sync", code: "EIO" } : null,
  };

  for (const [name, faultOf] of Object.entries(faults)) {
    it(`${name}, acknowledges no later write, and holds every acknowledged one when opened again`, async () => {
      const operations = await listOperations();
      let poisoned = 0;
      for (const { number: at } of operations.filter((operation) => faultOf(operation) !== null)) {
        for (const ending of ["kill", "crash"] as const) {
          const files = new SimulatedFiles();
          const random = seededRandom(at);
          const course = newCourse();
          files.intercept = (operation) => (operation.number === at ? faultOf(operation) : null);
          const opened = await openLog(files).catch((error: unknown) => error);
          if (opened instanceof Error) expect(opened).toMatchObject({ code: "STORAGE_FAILED" });
          else {
            const { store } = opened as { store: LogStore };
            await perform(store, WORKLOAD, course);
            files.intercept = null;
            if (course.errors.length > 0) {
              poisoned += 1;
              expect(course.errors[0]).toMatchObject({ code: "STORAGE_FAILED", outcome: "unknown" });
              const { cause } = course.errors[0] as Error;
              await expect(
                store.append({ hardState: null, truncateFrom: null, records: [] }),
              ).rejects.toMatchObject({
                code: "STORAGE_FAILED",
                cause,
              });
            }
            await store.close();
          }
          files.intercept = null;
          if (ending === "kill") files.kill();
          else files.crash(random);
          await expectRecovery(files, course, random);
        }
      }
      expect(poisoned).toBeGreaterThan(10);
    });
  }
});
