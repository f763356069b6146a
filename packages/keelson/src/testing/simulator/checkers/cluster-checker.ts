import type { NodeId } from "../../../core/position.ts";
import { ApplyChecker } from "./apply-checker.ts";
import { ChainChecker } from "./chain-checker.ts";
import { ClusterHistory } from "./cluster-history.ts";
import { EntitlementChecker } from "./entitlement-checker.ts";
import { HintChecker } from "./hint-checker.ts";
import { LogTimeChecker } from "./log-time-checker.ts";
import { LeaseReadChecker } from "./lease-read-checker.ts";
import { MembershipChecker } from "./membership-checker.ts";
import { MessageChecker } from "./message-checker.ts";
import { ModelChecker } from "./model-checker.ts";
import type { ClusterExpectations } from "./node-status.ts";
import { ReadChecker } from "./read-checker.ts";
import { RuntimeMessageChecker } from "./runtime-message-checker.ts";
import { SessionChecker } from "./session-checker.ts";
import { StatusChecker } from "./status-checker.ts";
import { StoreChecker } from "./store-checker.ts";
import { TransferChecker } from "./transfer-checker.ts";
import { TurnChecker } from "./turn-checker.ts";

/**
 * Watches a cluster from outside, and throws a `Violation` when an invariant doesn't hold. Observers around
 * each node's log store, transport and state machine call the checkers below; the simulation calls `statuses`
 * after each turn.
 *
 * Where each invariant of docs/design/pitfalls.md is checked:
 *
 * | code   | where                                                                                    |
 * | ------ | ---------------------------------------------------------------------------------------- |
 * | ES     | durable votes: `StoreChecker`; leaders: `LeadershipChecker`; candidates: `StatusChecker` |
 * |        | lost disks: `world/message-watch.ts`; senders: `EntitlementChecker`                      |
 * | LM     | `StoreChecker`, for every record that any store is given; sent: `message-watch.ts`       |
 * | LC     | `LeadershipChecker`, when a leader is first seen                                         |
 * | SMS    | `CommitChecker` and `ApplyChecker`; queries: `clients/stale-reads.ts`; sessions:         |
 * |        | `SessionChecker`                                                                         |
 * | CQ     | `CommitChecker`; acknowledgements: `MessageChecker`, `message-watch.ts`                  |
 * | MONO   | terms: `StoreChecker`; commit index: `StatusChecker`; match: `LeadershipChecker`         |
 * | ORD    | `StatusChecker`, `ApplyChecker`, `StoreChecker`                                          |
 * | PBR    | `MessageChecker`; order of durable writes: `StoreChecker`                                |
 * | CFG    | `StatusChecker`; snapshots: `StoreChecker`; who comes and goes: `MembershipChecker`      |
 * | DUR    | restarts and reads: `StoreChecker`; acknowledged writes: `run/outcome-checks.ts`         |
 * | LIN    | each answered read: `ReadChecker`; leases: `LeaseReadChecker`; the history:              |
 * |        | `run/outcome-checks.ts`                                                                  |
 * | STABLE | `LeadershipChecker`; votes against a live leader: `LeaseChecker`; campaigns:             |
 * |        | `EntitlementChecker`; refused questions: `message-watch.ts`                              |
 * | KNOWN  | named leaders: `HintChecker`; forwarded calls: `RuntimeMessageChecker`; the other calls  |
 * |        | need clients, see below                                                                  |
 * | BOUND  | `StatusChecker`; `TransferChecker`; `RuntimeMessageChecker`; nothing left at the end:    |
 * |        | `run/shutdown.ts`                                                                        |
 * | TIME   | `LogTimeChecker`; that it passes: `run/rest.ts`                                          |
 *
 * `ModelChecker` checks each step of a core against most of these rules at once (MODEL). `NodeDuties` checks
 * that a core leaves out nothing that it owes (DUTY); `world/observed-core.ts` makes one for each process.
 * `TurnChecker` checks that the runtime carries out at once what the core has decided (DUTY).
 *
 * `ChainChecker` finds messages that cause each other without end, `GrantChecker` votes that should have been
 * given (both LIVE), and `TransferChecker` snapshots that are of no use. ONCE, most of LIVE and KNOWN, and
 * FAILSTOP need clients or the end of the run, and are checked there.
 */
export class ClusterChecker {
  readonly history: ClusterHistory = new ClusterHistory();
  readonly stores: StoreChecker = new StoreChecker(this.history);
  readonly messages: MessageChecker = new MessageChecker(this.history, this.stores);
  readonly applies: ApplyChecker = new ApplyChecker(this.history);
  readonly model: ModelChecker = new ModelChecker();
  readonly reads: ReadChecker = new ReadChecker(this.history);
  readonly hints: HintChecker = new HintChecker(this.history);
  readonly chains: ChainChecker = new ChainChecker();
  readonly sessions: SessionChecker = new SessionChecker();
  readonly memberships: MembershipChecker = new MembershipChecker();
  readonly turns: TurnChecker = new TurnChecker();
  readonly entitlements: EntitlementChecker;
  readonly statuses: StatusChecker;
  readonly leaseReads: LeaseReadChecker;
  readonly transfers: TransferChecker;
  readonly runtimeMessages: RuntimeMessageChecker;
  readonly logTime: LogTimeChecker;

  constructor(expectations: ClusterExpectations) {
    this.entitlements = new EntitlementChecker(this.history, expectations.preVote);
    this.statuses = new StatusChecker(this.history, this.memberships, expectations);
    const { electionTimeoutMinMs, isDriftBounded } = expectations;
    this.leaseReads = new LeaseReadChecker(this.history, electionTimeoutMinMs, isDriftBounded);
    this.transfers = new TransferChecker(expectations.keepsLogForReceivers);
    this.runtimeMessages = new RuntimeMessageChecker(expectations.electionTimeoutMaxMs);
    this.logTime = new LogTimeChecker(expectations.clockRateMax);
  }

  /**
   * A process of the node is about to start: nothing that an earlier one was told entitles it to anything.
   */
  processStarts(id: NodeId): void {
    this.entitlements.started(id);
    this.chains.started(id);
    this.runtimeMessages.started(id);
  }
}
