/**
 * The faults that a plan is made of, as plain data. `faults/fault-player.ts` carries them out.
 *
 * A fault's type and fields stand in the trace, so they are kept as they are even where a name has aged:
 * traces of the same seed then stay comparable between versions.
 *
 * | type                     | what happens                                      | which bugs it finds                   |
 * | ------------------------ | ------------------------------------------------- | ------------------------------------- |
 * | cut                      | one direction of a link is cut                    | asymmetric links (E16)                |
 * | partition                | nodes are cut off, in one or both directions      | stale leaders, divergent logs         |
 * | unreachable              | the same, and whoever connects is told at once    | delays that grow without limit (W5)   |
 * | bridge                   | two sides reach each other through one node only  | elections without end (E16)           |
 * | lossy                    | datagrams are lost and duplicated                 | duplicate requests and answers        |
 * | slow-network             | every message takes longer                        | late answers, needless elections      |
 * | hostile-peer             | a stranger, or a removed member, passes the       | what is believed of non-members (Z17, |
 * |                          | handshake if it can, and lies                     | M9)                                   |
 * | reset                    | the connections of two nodes break                | cut frames (W3), reconnecting         |
 * | late-copies              | copies of some datagrams arrive much later        | answers of another term (R7, E25)     |
 * | stragglers               | some datagrams arrive much later                  | reordered answers (R6)                |
 * | crash, crash-all         | processes die; the power may fail                 | persist before reply (D1)             |
 * | restart-under-reads      | a process dies, and is asked as soon as it starts | reads before the term's first commit  |
 * | crash-at-storage-call    | a process dies at its n-th call to the disk       | interrupted writes (D3)               |
 * | crash-loop               | the power fails at a sync, and while recovering   | unrepeatable recovery (D13)           |
 * | crash-voter              | a process dies when its vote is durable           | forgotten votes (E3, E6)              |
 * | destroy                  | a machine is lost for good, perhaps as it is      | elections that need it (E11)          |
 * |                          | about to be elected                               |                                       |
 * | close                    | a node closes while calls are under way           | calls without an answer (K3, O4)      |
 * | state-machine-failure    | the state machine fails once                      | going on after a failure              |
 * | pause, busy              | events wait, and then come in one turn            | leases, timers (L5)                   |
 * | freeze                   | all processes pause and go on together            | elections in step (E23)               |
 * | late-timers              | timers fire late                                  | leases, check-quorum (L5)             |
 * | clock-jump               | a wall clock jumps                                | sessions that go by it (Z13)          |
 * | slow-apply               | the state machine is slow                         | queues without limit (O1)             |
 * | slow-disk                | each call to the disk takes longer                | leaders that count too early (C5)     |
 * | hanging-disk             | no call to the disk returns                       | leaders that stay (D11), timeouts     |
 * | disk-error               | one operation fails                               | going on after an error (D2)          |
 * | full-disk                | every write fails for long, also after restarts   | recovery on a full disk (Z5, D3)      |
 * | begin-anew               | a dead node's log is to be discarded, as after a  | a used log that is discarded (Z21)    |
 * |                          | mistake in the first list of members              |                                       |
 * | second-process           | another process opens the node's log              | two writers of one log (Z1)           |
 * | short-transfers          | reads and writes are done in several parts        | short writes taken for whole (D6)     |
 * | bit-flip                 | a bit changes while the process is down           | damage that goes unnoticed (D4)       |
 * | lost-write               | a finished write is missing or elsewhere          | damage that goes unnoticed (D4)       |
 * | snapshot                 | a node is asked for a snapshot                    | contents of another index (S5)        |
 * | spoil-snapshot           | a bit of a snapshot changes, also while sent      | damage that is accepted (S15)         |
 * | snapshot-disk-error      | one operation on a snapshot's file fails          | partial snapshots accepted (S15)      |
 * | snapshot-error-at-rename | the same, once a received snapshot is complete    | errors between steps (Z9)             |
 * | crash-at-snapshot        | a process dies when a snapshot is complete        | the steps of installing (S4)          |
 * | strand-leader            | the leader is cut off with a minority, and called | stale reads, leases (L5, L7)          |
 * | lonely-leader            | the leader is cut off alone, with a bad disk      | overwritten writes (D8)               |
 * | stall-leader             | the leader's disk hangs as it has to write        | leaders that stay (D11)               |
 * | hang-part                | the state machine or the snapshots' files hang    | leaders that serve nothing (Z15)      |
 * | deaf-handover            | a leader doesn't hear whom it transferred to      | leases after transfers (L6)           |
 * | failed-installation      | a snapshot can't be opened; then the leader falls | nodes that stay paused (Z9)           |
 * |                          | silent, and the next one has a longer log         |                                       |
 * | contested-fetch          | a snapshot is fetched, and a new leader sends the | installing over work that is under    |
 * |                          | entries that it covers, to a slow disk and state  | way (S18)                             |
 * | busy-receivers           | followers that apply slowly, or take snapshots of | installs that meet something (S19)    |
 * |                          | their own, install one, perhaps for long          |                                       |
 * | leader-without-voters    | the leader is cut off with its learners only, or  | answers counted that have no vote     |
 * |                          | with the members that were just removed; reads    | (Q6)                                  |
 * | change                   | the operator changes the membership               | joint consensus (M1 to M8), ids (M10) |
 * | transfer                 | the operator transfers leadership                 | transfers (T3, E17)                   |
 * | greet-leader             | a node is asked for much in the turn in which     | changes across leaders (M1, M21)      |
 * |                          | it becomes leader                                 |                                       |
 * | interrupt-change         | a leader is cut off in the middle of a change     | voters with older configurations (M20)|
 * | wipe                     | a node loses its whole disk                       | forgotten votes (M11)                 |
 * | roll-back                | a node's whole disk becomes an older copy         | forgotten entries and votes (Z20)     |
 * | found-again              | initialize is called again                        | a second cluster (M9, M16)            |
 * | quiet                    | no client calls                                   | work and elections of an idle group   |
 * | burst                    | some writes at once at one node                   | what is under way when it ends (K4)   |
 * | bulk                     | hundreds of calls at once, or thousands           | slow catching up, calls that end      |
 * |                          |                                                   | together (Z19)                        |
 */

/**
 * Something bad that happens at a time, in milliseconds from the start of the clients. What lasts, lasts
 * `ms`.
 */
export type Fault = { readonly at: number } & (
  | NetworkFault
  | CrashFault
  | TimingFault
  | DiskFault
  | SnapshotFault
  | LeaderFault
  | OperatorFault
  | ClientFault
);

/** The names of the faults. */
export type FaultType = Fault["type"];

/** Faults of links. Nodes are named by their place in the plan, from 0, here and below. */
export type NetworkFault =
  | { readonly type: "cut"; readonly from: number; readonly to: number; readonly ms: number }
  | {
      readonly type: "partition";
      readonly side: readonly number[];
      /** Only messages from `side` to the others are lost. */
      readonly oneWay: boolean;
      readonly ms: number;
    }
  /** A partition in both directions of which the network tells: each attempt to connect fails at once. */
  | { readonly type: "unreachable"; readonly side: readonly number[]; readonly ms: number }
  | {
      readonly type: "bridge";
      /** The node that both sides still reach. */
      readonly bridge: number;
      readonly side: readonly number[];
      readonly ms: number;
    }
  | {
      readonly type: "lossy";
      /** null: all links. */
      readonly link: readonly [from: number, to: number] | null;
      /** Probabilities, for each datagram. Byte streams aren't affected. */
      readonly drop: number;
      readonly duplicate: number;
      readonly ms: number;
    }
  | { readonly type: "slow-network"; readonly delayMs: number; readonly ms: number }
  | { readonly type: "reset"; readonly a: number; readonly b: number }
  /**
   * A peer that isn't a member, or isn't one any more, sends wrong messages to all nodes that accept its
   * connection.
   */
  | {
      readonly type: "hostile-peer";
      readonly as: "stranger" | "removed member";
      /** The mean time between two messages to each node. */
      readonly everyMs: number;
      readonly ms: number;
    }
  /** Of this share of datagrams a copy arrives up to `byMs` later, perhaps in another term. */
  | { readonly type: "late-copies"; readonly share: number; readonly byMs: number; readonly ms: number }
  /** This share of datagrams arrives up to `byMs` later than the others. */
  | { readonly type: "stragglers"; readonly share: number; readonly byMs: number; readonly ms: number };

/**
 * Faults by which a process ends. It is started again after `ms`, or after a fixed delay if the fault has no
 * `ms`; only after `destroy` it isn't.
 */
export type CrashFault =
  | { readonly type: "crash"; readonly node: number; readonly ms: number }
  | { readonly type: "crash-all"; readonly ms: number }
  | {
      readonly type: "crash-at-storage-call";
      readonly node: number;
      /** The process dies at this call from now on, counting only calls that change something. */
      readonly calls: number;
      readonly ms: number;
    }
  /**
   * The power fails at the first sync from the n-th call on; then again after each restart, once per element.
   */
  | {
      readonly type: "crash-loop";
      readonly node: number;
      readonly calls: readonly number[];
      readonly ms: number;
    }
  /** The process dies, and clients read from it from its start on, for `readsMs`. */
  | {
      readonly type: "restart-under-reads";
      readonly node: number;
      readonly ms: number;
      readonly readsMs: number;
    }
  /**
   * The process dies when its next vote is durable, and is back after `ms`, mostly before that election is
   * over.
   */
  | { readonly type: "crash-voter"; readonly node: number; readonly ms: number }
  /**
   * The machine is lost for good, if the cluster can bear that: from then on the others are all there is.
   * `atVote`: the next candidate is lost instead, as soon as another node's vote for it is durable. That node
   * has entered a term which nobody leads, and of which the rest may know nothing.
   */
  | { readonly type: "destroy"; readonly node: number; readonly atVote: boolean }
  /** The node closes in good order. */
  | { readonly type: "close"; readonly node: number }
  /** For 100 ms the state machine's calls fail. The first one that does stops the node. */
  | { readonly type: "state-machine-failure"; readonly node: number };

/** Faults by which a process does things late. */
export type TimingFault =
  | { readonly type: "pause"; readonly node: number; readonly ms: number }
  /** Turns of the event loop last `turnMs`; what arrives meanwhile is handled in the next one. */
  | { readonly type: "busy"; readonly node: number; readonly turnMs: number; readonly ms: number }
  /** All processes are paused and go on at the same time, so that their elections begin together. */
  | { readonly type: "freeze"; readonly ms: number }
  /** Timers that are set during this time fire up to `byMs` late. */
  | { readonly type: "late-timers"; readonly node: number; readonly byMs: number; readonly ms: number }
  /** The wall clock jumps, and stays wrong: somebody set it, or the machine was suspended. */
  | { readonly type: "clock-jump"; readonly node: number; readonly byMs: number }
  /**
   * No call of the part returns while this lasts. A part of the leader hangs if `node` is null. The node is
   * given writes, or asked for a snapshot, so that the part is called.
   */
  | {
      readonly type: "hang-part";
      readonly node: number | null;
      readonly part: "state-machine" | "snapshots";
      readonly ms: number;
    }
  | { readonly type: "slow-apply"; readonly node: number; readonly delayMs: number; readonly ms: number };

/** Faults of one node's disk. */
export type DiskFault =
  | { readonly type: "slow-disk"; readonly node: number; readonly delayMs: number; readonly ms: number }
  | { readonly type: "hanging-disk"; readonly node: number; readonly ms: number }
  | {
      readonly type: "disk-error";
      readonly node: number;
      readonly error: DiskErrorKind;
      /**
       * The power fails so long after the error, which shows whether the error lost data; null: it doesn't.
       */
      readonly powerCutAfterMs: number | null;
    }
  /**
   * The disk has no space left: every write fails, some after a part of it was written. This goes on for
   * `ms`, even if the process stops and is started again.
   */
  | { readonly type: "full-disk"; readonly node: number; readonly ms: number }
  /**
   * The node's process dies, and somebody asks `discardUnusedLog` for its log, with another address for one
   * of the first members. The node has had a part in the cluster, so the log must stay.
   */
  | { readonly type: "begin-anew"; readonly node: number; readonly ms: number }
  /** Another process opens the log of the node while it runs, which must be refused. */
  | { readonly type: "second-process"; readonly node: number }
  /**
   * Calls that read or write a file do only a part of it, so that the caller must call again for the rest.
   */
  | { readonly type: "short-transfers"; readonly node: number; readonly ms: number }
  /**
   * A bit of a file changes while the process is down. Acknowledged data may be gone, so only a minority has
   * this.
   */
  | { readonly type: "bit-flip"; readonly node: number; readonly ms: number }
  /** A write that was reported as done is missing on the disk. After `ms` the power fails. */
  | {
      readonly type: "lost-write";
      readonly node: number;
      /** The write went to a place so many bytes away (a misdirected write); null: it went nowhere. */
      readonly elsewhereBy: number | null;
      /**
       * The operating system's cache doesn't hold the write either, so the node may read that it is missing.
       */
      readonly forgotten: boolean;
      readonly ms: number;
    };

/**
 * The codes of the errors that the simulated disk returns. A node that meets one may stop, or fail to start.
 */
export const DISK_ERROR_CODES = ["EIO", "ENOSPC", "EMFILE"] as const;

export type DiskErrorCode = (typeof DISK_ERROR_CODES)[number];

/** How an operation on a file fails. */
export type DiskErrorKind =
  | "io-error"
  | "no-space"
  | "short-write"
  | "failed-sync"
  | "read-error"
  /** No file can be opened, as the process has too many open. */
  | "no-handles"
  /** A file can't be renamed, or its directory not be synced. */
  | "failed-rename";

/** Snapshots at bad moments, and faults of their files. */
export type SnapshotFault =
  | { readonly type: "snapshot"; readonly node: number }
  /** A bit of one of the node's snapshot files changes, while the process runs. */
  | {
      readonly type: "spoil-snapshot";
      readonly node: number;
      /** How long to wait until another node fetches the snapshot. After that it is damaged in any case. */
      readonly patienceMs: number;
      /** The probability that the process is also restarted. */
      readonly crashShare: number;
    }
  /** The next operation of this kind on one of the node's snapshot files fails. */
  | { readonly type: "snapshot-disk-error"; readonly node: number; readonly error: DiskErrorKind }
  /**
   * Once a received snapshot is complete on the node, one of the next operations on its snapshot files fails,
   * and those after it succeed: the file is opened and read for the installation then.
   */
  | {
      readonly type: "snapshot-error-at-rename";
      readonly node: number;
      readonly error: DiskErrorKind;
      /** How many operations of that kind succeed before. */
      readonly after: number;
    }
  /**
   * The process dies at its n-th call that changes the disk (`calls`) after a snapshot's file was complete
   * there.
   */
  | {
      readonly type: "crash-at-snapshot";
      readonly node: number;
      readonly calls: number;
      readonly ms: number;
    };

/** Faults that hit whichever node leads when they happen. */
export type LeaderFault =
  | BusyReceiversFault
  /** The leader is cut off with a minority, while clients that don't know it keep calling it. */
  | {
      readonly type: "strand-leader";
      /** How many other nodes are on the leader's side. */
      readonly companions: number;
      /** Writes that it is given at the cut. */
      readonly writes: number;
      /** Clients begin to read from it so long after the cut, and go on to the end; null: nobody reads. */
      readonly readsAfterMs: number | null;
      /** The leader's timers fire late meanwhile, so that it doesn't notice the cut. */
      readonly lateTimers: boolean;
      /** Everything sent to the leader takes so much longer, from before the cut until the end. */
      readonly answersMs: number;
      /**
       * The cut ends as soon as so many nodes ask for votes, and at the latest after `ms`. Absent: after
       * `ms`.
       */
      readonly untilAsking?: number;
      /**
       * The companions are paused from before the cut until after it, and then hear both leaders in one turn.
       */
      readonly stunned: boolean;
      readonly ms: number;
    }
  /**
   * The leader is cut off alone; its disk may be slow or hang, so that its writes are under way when it
   * returns.
   */
  | { readonly type: "lonely-leader"; readonly disk: "well" | "slow" | "hanging"; readonly ms: number }
  /** The leader's disk hangs while it has entries to write. */
  | { readonly type: "stall-leader"; readonly ms: number }
  /**
   * The leader sends TimeoutNow. If the target hears it, all messages to the leader are delayed from then on,
   * while clients read from the leader. If it never hears it, everything that the leader sends to the target
   * is lost for so long, and clients read from the leader when it has given up the transfer. If it hears it
   * too late, everything sent to the target is delayed by so much until then.
   */
  | { readonly type: "deaf-handover"; readonly target: HandoverTarget; readonly ms: number }
  /**
   * A follower falls behind what the leader's log holds, and fetches a snapshot. When it opens or reads that
   * snapshot to install it, one operation fails, and the leader pauses. The next leader has a longer log, and
   * offers no snapshot, or an older one.
   */
  | {
      readonly type: "failed-installation";
      readonly error: "no-handles" | "read-error";
      /** The other nodes take a snapshot too, of an earlier entry, which the follower lacks as well. */
      readonly hasOlder: boolean;
      /** For how long the follower is cut off. */
      readonly ms: number;
      /** For how long the leader pauses. */
      readonly pauseMs: number;
    }
  /**
   * A follower falls behind what the leader's log holds. While it fetches a snapshot, leadership goes to a
   * node whose log reaches back further, and which sends the same entries. So at the installation the log may
   * end before the snapshot, at it or after it, with writes and a batch of commands under way.
   */
  | {
      readonly type: "contested-fetch";
      /** For how long the follower is cut off. */
      readonly ms: number;
      /**
       * From the beginning of the fetch on, each call to the follower's disk takes `logDelayMs` longer,
       * except those for snapshots' files, and each of its commands takes `applyDelayMs` longer.
       */
      readonly logDelayMs: number;
      readonly applyDelayMs: number;
      /**
       * Once the snapshot is complete, the calls for its file wait until the follower has all but
       * `entriesLeft` of the entries that it covers: in its log, or applied to its state.
       */
      readonly until: "log" | "state";
      readonly entriesLeft: number;
    }
  /**
   * The leader hears its learners and no other node, or only the members whose removal it has just begun to
   * put in force, while clients read from it. The voters elect another leader meanwhile.
   */
  | {
      readonly type: "leader-without-voters";
      readonly hears: "learners" | "removed";
      readonly ms: number;
    };

/**
 * Followers apply a backlog slowly, are cut off meanwhile, and lack entries that the leader's log no longer
 * holds when they are heard again: they fetch a snapshot while they still apply, or take one of their own.
 */
export interface BusyReceiversFault {
  readonly type: "busy-receivers";
  /** How many followers: at most a minority. */
  readonly receivers: number;
  /** Writes before the cut. The followers have them and apply them slowly. */
  readonly backlog: number;
  /** Writes during the cut. */
  readonly writes: number;
  /** How long each command takes on the followers. */
  readonly applyMs: number;
  /** How long the installation takes. */
  readonly restoreMs: number;
  /**
   * The followers are asked for a snapshot of their own when they are heard again, and when a fetched one is
   * about to be complete.
   */
  readonly takesOwn: boolean;
  /** So long after the followers are heard again, leadership is transferred; null: it isn't. */
  readonly handsOverAfterMs: number | null;
  /** The length of the cut. */
  readonly ms: number;
  /** How long the followers are slow, from before the cut on. */
  readonly busyMs: number;
}

/**
 * What the operator does. Which nodes it concerns is mostly decided when it happens, from the members of that
 * moment.
 */
export type OperatorFault =
  | {
      readonly type: "change";
      readonly how: ChangeKind;
      /** The leader that was asked dies so long after; null: it doesn't. */
      readonly crashLeaderAfterMs: number | null;
    }
  /**
   * Leadership is to go to a random node, which may be down or no voter, or to whichever node the leader
   * picks; `toAnyone`: always to the latter.
   */
  | { readonly type: "transfer"; readonly toAnyone?: boolean }
  /** The next node that becomes leader is asked for these things, in the very turn in which it does. */
  | {
      readonly type: "greet-leader";
      readonly acts: readonly GreetingAct[];
      /** The change, if one is among the acts. */
      readonly how: ChangeKind;
    }
  /**
   * A change of the membership during which the leader is cut off, with few or none of the nodes that hear of
   * its next step. The others elect a leader whose configuration may be older, newer, or unknown to its
   * voters.
   */
  | {
      readonly type: "interrupt-change";
      readonly how: ChangeKind;
      /**
       * The cut comes when the leader appends the n-th configuration after the request, before it is sent.
       */
      readonly step: number;
      /** How many other nodes still reach the leader. They reach all others, too. */
      readonly reached: number;
      /** The leader crashes so long after the cut; null: it doesn't. */
      readonly crashAfterMs: number | null;
      readonly ms: number;
      /**
       * The leader hears the others again, and they don't hear it, from so long after the election of another
       * leader. Absent: it hears them only once the cut ends.
       */
      readonly hearsSuccessorAfterMs?: number;
    }
  /** The node loses its whole disk and comes back under its id, if the cluster can bear that. */
  | { readonly type: "wipe"; readonly node: number }
  /**
   * The node's disk is copied, and becomes that copy again once `ms` have passed and the cluster can bear it:
   * a virtual machine that is restored from its snapshot.
   */
  | { readonly type: "roll-back"; readonly node: number; readonly ms: number }
  /**
   * `initialize` is called again on this node: with the initial members, or with others, which must be
   * refused.
   */
  | { readonly type: "found-again"; readonly node: number; readonly others: boolean };

/**
 * When the target of a transfer gets TimeoutNow, and the leader's other messages of that time: at once;
 * never; or so late that the leader has given up, and the operator may have taken the target's vote away.
 */
export type HandoverTarget = "hears" | "never hears" | "hears too late";

/** What a new leader is asked for at once. */
export type GreetingAct = "change" | "transfer" | "write" | "read" | "snapshot";

/** How the operator changes the membership. */
export type ChangeKind =
  /** Adds a voter. */
  | "add"
  /** Adds a learner. */
  | "learn"
  | "remove"
  | "remove-leader"
  /** Makes a learner a voter. */
  | "promote"
  /** Makes a voter a learner. */
  | "demote"
  /** Adds one voter and removes another; preferably one whose disk is lost. */
  | "replace"
  /** Several of these in one change. */
  | "several"
  /**
   * The learners replace all voters but the leader, and the old voters are cut off before they hear of it.
   * With fewer than two learners, one is added instead.
   */
  | "exchange"
  /**
   * The leader of two voters removes itself, and crashes when that entry is on its own disk only (M18). With
   * other than two voters, one is added instead.
   */
  | "retire"
  /**
   * The leader of two voters removes itself. From then on messages to it are delayed by the longest election
   * timeout, so the other's answer doesn't reach it while its lease lasts (L5). With other than two voters,
   * one is added instead.
   */
  | "bequeath"
  /** A member gets another address. */
  | "move"
  /** Adds a voter at an address where no node is. */
  | "ghost"
  /** Adds a removed member's id again, with an empty disk. This must be refused. */
  | "reuse";

/** Faults of the clients. */
export type ClientFault =
  | { readonly type: "quiet"; readonly ms: number }
  /**
   * Clients make so many writes at once, each of a key of its own, at `node`, or at the leader if it is null.
   */
  | { readonly type: "burst"; readonly node: number | null; readonly writes: number }
  /**
   * Clients make so many writes and reads at once, of one key that nobody else uses, at the leader or, if it
   * is given, at `node`. All of them have the same time limit; absent: the plan's.
   */
  | {
      readonly type: "bulk";
      readonly writes: number;
      readonly reads?: number;
      readonly node?: number;
      readonly timeoutMs?: number;
    };
