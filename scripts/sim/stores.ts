import type { MakeSubject } from "keelson/testing";

/**
 * What `npm run sim` can replicate: the simulation's own store, or the state machine of the key-value server.
 */
export const STORES = ["sim", "kv"] as const;
export type Store = (typeof STORES)[number];

/** Loads only what the store needs: the server takes as long to load as a run. */
export async function subjectOfStore(store: Store): Promise<MakeSubject> {
  if (store === "kv") return (await import("./kv-subject.ts")).kvSubject;
  return (await import("keelson/testing")).simStoreSubject;
}
