import { describe, expect, it } from "vitest";
import { RaftNode, type Message, type NodeId, type RaftNodeOptions } from "../../../core/index.ts";

/** Pseudo-random numbers in [0, 1), determined by the seed. */
function lehmer(seed: number): () => number {
  let state = (seed % 2_147_483_646) + 1;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}

const IDS = ["a", "b", "c"];
const STEPS = 1_500;

/**
 * A node, and a twin that is captured and revived again and again. Both get the same inputs and the same
 * random numbers, and must return the same results and have the same state.
 */
class Twins {
  readonly #options: RaftNodeOptions;
  readonly #twinOptions: RaftNodeOptions;
  readonly #node: RaftNode;
  #twin: RaftNode;

  constructor(id: NodeId, seed: number) {
    const common = {
      id,
      inflightMessagesMax: 2,
      messageEntriesMax: 3,
      bytesBetween: (from: number, to: number) => to - from,
    };
    this.#options = { ...common, random: lehmer(seed) };
    this.#twinOptions = { ...common, random: lehmer(seed) };
    this.#node = RaftNode.start(this.#options);
    this.#twin = RaftNode.start(this.#twinOptions);
  }

  get node(): RaftNode {
    return this.#node;
  }

  revive(): void {
    this.#twin = RaftNode.revive(this.#twinOptions, structuredClone(this.#twin.capture()));
  }

  do<T>(input: (node: RaftNode) => T): T {
    const result = input(this.#node);
    expect(input(this.#twin)).toEqual(result);
    expect(this.#twin.capture()).toEqual(this.#node.capture());
    return result;
  }
}

/** Runs a group with lost messages, reads and compactions. Returns which roles and features occurred. */
function run(seed: number): Set<string> {
  const chance = lehmer(seed + 77);
  const pick = (count: number): number => Math.floor(chance() * count);
  const twins = new Map(IDS.map((id, at) => [id, new Twins(id, seed * 10 + at)]));
  const network: { to: NodeId; message: Message }[] = [];
  const unreported: { id: NodeId; persistId: number; after: { to: NodeId; message: Message }[] }[] = [];
  const seen = new Set<string>();
  let now = 0;
  for (const [, twin] of twins) twin.do((node) => node.createCluster(IDS, 0));
  for (let step = 0; step < STEPS; step++) {
    const id = IDS[pick(3)] ?? "a";
    const one = twins.get(id);
    if (one === undefined) throw new Error("nobody");
    if (chance() < 0.3) one.revive();
    const what = pick(12);
    if (what === 0) now += pick(60);
    if (what === 0) one.do((node) => node.handleTimeout(now));
    else if (what === 1) one.do((node) => node.proposeCommands(1 + (step % 3), now));
    else if (what === 2) one.do((node) => node.readIndex(now));
    else if (what === 3 && pick(8) === 0) {
      one.do((node) => node.handleCompacted(Math.min(node.commitIndex, node.durableIndex), now));
    } else if (what < 8) {
      const [sent] = network.splice(pick(network.length), 1);
      if (sent !== undefined && chance() < 0.95)
        twins.get(sent.to)?.do((node) => node.handleMessage(sent.message, now));
    } else if (what < 10) {
      const write = unreported.shift();
      if (write !== undefined) {
        twins.get(write.id)?.do((node) => node.handlePersisted(write.persistId, now));
        network.push(...write.after);
      }
    } else {
      const actions = one.do((node) => node.takeActions());
      network.push(...actions.messages);
      if (actions.needsPersist)
        unreported.push({ id, persistId: actions.persistId, after: [...actions.messagesAfterPersist] });
      const offer = actions.installSnapshot;
      if (offer !== null) one.do((node) => node.handleSnapshotInstalled(offer.last, offer.config, now));
      if (actions.reads.length > 0) seen.add("read");
      if (offer !== null) seen.add("snapshot");
    }
    seen.add(one.node.role);
    if (one.node.log.base.index > 0) seen.add("compacted");
    for (const member of IDS) seen.add(one.node.progress(member)?.state ?? "");
  }
  return seen;
}

describe("capture and revive", () => {
  it("make a node that continues exactly as the captured one, in every role and state", () => {
    const seen = new Set<string>();
    for (let seed = 1; seed <= 4; seed++) for (const what of run(seed)) seen.add(what);
    // Everything that an image holds must have occurred in one of the runs.
    expect([...seen]).toEqual(
      expect.arrayContaining(["pre-candidate", "candidate", "leader", "replicate", "read", "compacted"]),
    );
  });

  it("share no state: an input to one node doesn't change the other", () => {
    const options = { id: "a", random: () => 0 };
    const node = RaftNode.start(options);
    node.createCluster(["a"], 0);
    const image = node.capture();
    const before = structuredClone(image);
    RaftNode.revive(options, image).takeActions();
    node.takeActions();
    node.handleTimeout(1_000);
    expect(image).toEqual(before);
  });
});
