import { describe, expect, it } from "vitest";
import type { MemberData, Membership } from "../../codec/config.ts";
import { configOf } from "../../core/config.ts";
import { RaftNode } from "../../core/node.ts";
import { MemberDirectory } from "./member-directory.ts";
import { MembershipHistory } from "./membership-history.ts";
import { KnownPeers } from "./known-peers.ts";

/** The directory of node a with these memberships, none of them committed. All members are voters. */
function directoryOf(...steps: Record<string, MemberData>[]): MemberDirectory {
  return directoryAndPeers(...steps).directory;
}

function directoryAndPeers(...steps: Record<string, MemberData>[]): {
  directory: MemberDirectory;
  peers: KnownPeers;
} {
  const memberships = new MembershipHistory();
  for (const [at, members] of steps.entries()) {
    const ids = Object.keys(members);
    const membership = { config: configOf(ids), members: new Map(Object.entries(members)) };
    memberships.add({ index: at + 1, membership });
  }
  const core = RaftNode.start({ id: "a", random: () => 0.5 });
  const peers = new KnownPeers(() => undefined);
  const lost = { isLostStore: (id: string, storeId: string) => id === "c" && storeId === "set back" };
  return { directory: new MemberDirectory(core, memberships, peers, lost, ""), peers };
}

const A = { address: "a:1", storeId: "store a" };
const B = { address: "b:1", storeId: "store b" };
const peer = (id: string, storeId: string) => ({ id, storeId, info: "" });

it("refuses a member that comes with another store than it had (M11)", () => {
  const directory = directoryOf({ a: A, b: B });
  expect(directory.refusalOf(peer("b", "store b"), false)).toBeNull();
  expect(directory.refusalOf(peer("b", "another"), false)).toContain("is not the one it had");
  expect(directoryOf({ a: A, b: { address: "b:1" } }).refusalOf(peer("b", "any"), false)).toBeNull();
});

it("checks the store of a member whose removal isn't committed: it may stay a member (M11)", () => {
  const directory = directoryOf({ a: A, b: B }, { a: A });
  expect(directory.refusalOf(peer("b", "store b"), false)).toBeNull();
  expect(directory.refusalOf(peer("b", "another"), false)).toContain("is not the one it had");
});

it("checks against the store that the member was met with until the log holds its store id (M11)", () => {
  const { directory, peers } = directoryAndPeers({ a: A, b: { address: "b:1" } });
  peers.onHandshake(peer("b", "store b"));
  expect(directory.refusalOf(peer("b", "store b"), false)).toBeNull();
  expect(directory.refusalOf(peer("b", "another"), false)).toContain("is not the one it had");
  // A node that is not a member yet may come with another store.
  peers.onHandshake(peer("c", "store c"));
  expect(directory.refusalOf(peer("c", "another"), true)).toBeNull();
});

it("refuses an id that was never a member, unless it is vouched for [Z17]", () => {
  const directory = directoryOf({ a: A, b: B, d: { address: "d:1" } }, { a: A, b: B });
  expect(directory.refusalOf(peer("x", "store x"), false)).toContain("never was, a member");
  // A member that this log doesn't know yet: it knows this node's store.
  expect(directory.refusalOf(peer("x", "store x"), true)).toBeNull();
  expect(directory.refusalOf(peer("d", "store d"), false)).toBeNull();
  expect([directory.storeIdOf("b"), directory.storeIdOf("x")]).toEqual(["store b", null]);
});

describe("a node that is being added", () => {
  const LEARNERS = {
    config: configOf(["b"], ["a"]),
    members: new Map([
      ["a", A],
      ["b", B],
    ]),
  };
  const LATER = { config: configOf(["b"]), members: new Map([["b", B]]) };

  /**
   * Node a's directory, when its log holds these memberships and it knows those up to an index as committed.
   */
  function joining(committed: number, ...memberships: Membership[]): MemberDirectory {
    const history = new MembershipHistory();
    for (const [at, membership] of memberships.entries()) history.add({ index: at + 1, membership });
    const config = configOf(["a", "b"]);
    const log = {
      base: { index: 0, term: 0 },
      baseConfig: configOf([]),
      terms: [{ index: 1, term: 1 }],
      configs: [{ index: 1, config }],
      lastIndex: 2,
    };
    const options = { id: "a", random: () => 0.5, now: 0, hardState: { term: 1, votedFor: null } };
    const core = RaftNode.restart({ ...options, log, commitIndex: committed });
    const lost = { isLostStore: () => false };
    return new MemberDirectory(core, history, new KnownPeers(() => undefined), lost, "");
  }

  it("listens to leaders that it has never heard of until its own membership is committed", () => {
    // The leader that adds it may fail, and what is committed instead may give the cluster other members.
    expect(joining(0, LEARNERS).refusalOf(peer("x", "store x"), false)).toBeNull();
    expect(joining(1, LATER, LEARNERS).refusalOf(peer("x", "store x"), false)).toBeNull();
    expect(joining(1, LEARNERS).refusalOf(peer("x", "store x"), false)).toContain("never was, a member");
  });

  it("refuses strangers as a voter, and once it was a member [Z17]", () => {
    const voters = { config: configOf(["a", "b"]), members: LEARNERS.members };
    expect(joining(0, voters).refusalOf(peer("x", "store x"), false)).toContain("never was, a member");
    const leaving = { config: { ...configOf(["b"]), outgoingVoters: ["a", "b"] }, members: LEARNERS.members };
    expect(joining(0, leaving).refusalOf(peer("x", "store x"), false)).toContain("never was, a member");
    const removed = { ...LATER, removed: ["a"] };
    expect(joining(0, removed).refusalOf(peer("x", "store x"), false)).toContain("never was, a member");
    expect(joining(1, removed).refusalOf(peer("x", "store x"), false)).toContain("never was, a member");
  });
});

it("names no store id in a reason but that of the peer [Z17]", () => {
  expect(directoryOf({ a: A, b: B }).refusalOf(peer("b", "another"), true)).not.toContain("store b");
});

it("lets a member that lost entries in only to be told so, and refuses it by what the membership says [Z20]", () => {
  const directory = directoryOf({
    a: A,
    b: { address: "b:1", storeId: "lost:store b" },
    c: { address: "c:1" },
  });
  expect(directory.refusalOf(peer("b", "store b"), false)).toContain("lost entries that it had acknowledged");
  expect(directory.refusalOf(peer("c", "set back"), false)).toBeNull();
  expect(directory.storeIdOf("b")).toBeNull();
});

describe("the addresses of a member", () => {
  const moved = { a: A, b: { address: "b:2", storeId: "store b" } };

  it("are the new one and the old one until the new one is committed", () => {
    expect(directoryOf({ a: A, b: B }, moved).addresses.get("b")).toEqual(["b:2", "b:1"]);
    expect(directoryOf({ a: A, b: B }).addresses.get("b")).toEqual(["b:1"]);
  });

  it("end with the address that the member stated itself", () => {
    const { directory, peers } = directoryAndPeers({ a: A, b: B });
    peers.onHandshake({ ...peer("b", "store b"), address: "b:3" });
    expect(directory.addresses).toEqual(new Map([["b", ["b:1", "b:3"]]]));
  });
});
