import { expect, it } from "vitest";
import { simulatedWorld } from "../../environment/simulated/simulated-environment.ts";
import type { IncomingSnapshot } from "../../storage/snapshot-store.ts";
import { SnapshotFetcher, type SnapshotFetcherParts } from "./snapshot-fetcher.ts";

/**
 * A fetcher whose store is opening the file of a snapshot. `events`: what it sent, and what became of the
 * file.
 */
async function opening() {
  const events: string[] = [];
  const opened = Promise.withResolvers<IncomingSnapshot>();
  const { clock, environment } = simulatedWorld({ seed: 1 });
  const parts = {
    ...{ id: "b", environment: environment("b"), bytesPerSecondMax: Infinity },
    store: { newest: null, receive: () => opened.promise },
    send: (_to: string, { type }: { readonly type: string }) => events.push(type) > 0,
    warn: (text: string) => events.push(text),
  };
  const fetcher = new SnapshotFetcher(parts as unknown as SnapshotFetcherParts);
  fetcher.onOffer("a", 9);
  const payload = new Uint8Array(0);
  fetcher.onChunk({ type: "snapshot-chunk", from: "a", id: "s", size: 100, offset: 0, payload });
  await clock.advance(1);
  const open = (): Promise<void> => {
    const become = (what: string) => (): Promise<void> => Promise.resolve(void events.push(what));
    const file = { id: "s", bytes: 100, offset: 40, suspend: become("suspended"), abort: become("removed") };
    opened.resolve(file as unknown as IncomingSnapshot);
    return clock.advance(1);
  };
  return { events, fetcher, open };
}

it("removes a snapshot's file that is being opened when the entries come from the log (Q3)", async () => {
  const { events, fetcher, open } = await opening();
  fetcher.onApplied(8);
  expect(fetcher.metrics).not.toBeNull();
  fetcher.onApplied(9);
  expect(fetcher.metrics).toBeNull();
  await open();
  expect(events).toEqual(["snapshot-request", "removed"]);
});

it("keeps a snapshot's file that is being opened when the node stops: the next run resumes after it", async () => {
  const { events, fetcher, open } = await opening();
  const stopped = fetcher.stop();
  await open();
  await stopped;
  expect(events).toEqual(["snapshot-request", "suspended"]);
});
