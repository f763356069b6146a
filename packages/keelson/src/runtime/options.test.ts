// Options that are undefined count as left out, in the types (under `exactOptionalPropertyTypes`) and when
// they run.
import { describe, expect, expectTypeOf, it } from "vitest";
import type {
  DiscardOptions,
  ForceNewClusterOptions,
  InspectOptions,
  RestoreOptions,
  WalOptions,
} from "../storage/wal/index.ts";
import type { InspectSnapshotsOptions } from "../storage/snapshots/index.ts";
import { tcpLimitsOf, DEFAULT_TCP_LIMITS } from "../transport/tcp/tcp-limits.ts";
import type { TcpOptions } from "../transport/tcp/index.ts";
import type {
  CallOptions,
  Given,
  MembershipChange,
  OpenedState,
  OpenSessionOptions,
  RaftConfigOptions,
  RaftLimits,
  RaftOptions,
  RaftTimings,
  ReadOptions,
  SnapshotOptions,
  StateMachine,
  WriteOptions,
} from "./index.ts";
import { TestCluster, type TestOptions } from "./test/test-cluster.ts";

type OptionalNames<T> = { [Name in keyof T]-?: object extends Pick<T, Name> ? Name : never }[keyof T];

/** The same names, all undefined. */
type Undefined<T> = { readonly [Name in OptionalNames<T>]: undefined };

type Fields = "codec" | "schema";

describe("each option may be undefined", () => {
  it("in its type", () => {
    expectTypeOf<Undefined<RaftOptions<string, number>>>().toExtend<
      Pick<RaftOptions<string, number>, OptionalNames<RaftOptions<string, number>>>
    >();
    expectTypeOf<Undefined<Given<RaftLimits>>>().toExtend<Given<RaftLimits>>();
    expectTypeOf<Undefined<Given<RaftTimings>>>().toExtend<Given<RaftTimings>>();
    expectTypeOf<Undefined<SnapshotOptions>>().toExtend<SnapshotOptions>();
    expectTypeOf<Undefined<RaftConfigOptions>>().toExtend<RaftConfigOptions>();
    expectTypeOf<Undefined<CallOptions>>().toExtend<CallOptions>();
    expectTypeOf<Undefined<WriteOptions>>().toExtend<WriteOptions>();
    expectTypeOf<Undefined<ReadOptions>>().toExtend<ReadOptions>();
    expectTypeOf<Undefined<OpenSessionOptions>>().toExtend<OpenSessionOptions>();
    expectTypeOf<Undefined<MembershipChange>>().toExtend<MembershipChange>();
    expectTypeOf<Undefined<Pick<OpenedState, "sessions">>>().toExtend<Pick<OpenedState, "sessions">>();
    expectTypeOf<Undefined<Pick<StateMachine<string, number>, Fields>>>().toExtend<
      Pick<StateMachine<string, number>, Fields>
    >();
    expectTypeOf<Undefined<Omit<TcpOptions, "listen">>>().toExtend<Omit<TcpOptions, "listen">>();
    expectTypeOf<Undefined<WalOptions>>().toExtend<WalOptions>();
    expectTypeOf<Undefined<InspectOptions>>().toExtend<InspectOptions>();
    expectTypeOf<Undefined<DiscardOptions>>().toExtend<Pick<DiscardOptions, OptionalNames<DiscardOptions>>>();
    expectTypeOf<Undefined<RestoreOptions>>().toExtend<Pick<RestoreOptions, OptionalNames<RestoreOptions>>>();
    expectTypeOf<Undefined<ForceNewClusterOptions>>().toExtend<
      Pick<ForceNewClusterOptions, OptionalNames<ForceNewClusterOptions>>
    >();
    expectTypeOf<Undefined<InspectSnapshotsOptions>>().toExtend<InspectSnapshotsOptions>();
  });

  it("when a node is opened, and in its calls", async () => {
    const options: TestOptions = {
      ...{ clusterId: undefined, info: undefined, reachAt: undefined, priority: undefined },
      ...{ snapshots: undefined, preVote: undefined, checkQuorum: undefined, clockDriftMax: undefined },
      ...{ members: undefined, data: undefined, listen: undefined, forward: undefined },
      limits: { commandBytesMax: undefined },
      timings: { heartbeatMs: undefined },
    };
    const cluster = await TestCluster.of(["a"], 1, options);
    const { raft } = await cluster.leader();
    const call = { signal: undefined, timeoutMs: undefined };
    expect(await cluster.finish(raft.write("x", { ...call, session: undefined }))).toBe(1);
    expect(await cluster.finish(raft.read(() => 5, { ...call, consistency: undefined }))).toBe(5);
    const session = await cluster.finish(raft.openSession({ ...call, ttlMs: undefined }));
    expect(session.ttlMs).toBe(60_000);
    expect(await cluster.finish(session.write("y", call))).toBe(2);
    const first = await cluster.finish(raft.committed({ from: undefined }).next());
    expect(first.value).toMatchObject({ command: "x" });
  });

  it("in the limits of the TCP transport", () => {
    expect(tcpLimitsOf({ connectionsMax: undefined, idleMs: undefined })).toEqual(DEFAULT_TCP_LIMITS);
  });
});
