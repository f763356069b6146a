import { simStoreSubject, type MakeSubject } from "keelson/testing";

import { kvSubject } from "./kv-subject.ts";

/** What `npm run sim` can replicate: the simulation's own store, or the state machine of the key-value server. */
export const STORES = ["sim", "kv"] as const;
export type Store = (typeof STORES)[number];

export function subjectOf(store: Store): MakeSubject {
  return store === "kv" ? kvSubject : simStoreSubject;
}
