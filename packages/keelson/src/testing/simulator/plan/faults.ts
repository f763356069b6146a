/** The faults that a plan is made of, as plain data. `fault-player.ts` carries them out. */

/** Something bad that happens at a time. Whatever lasts is over by itself after `ms`, or when the run heals. */
export type Fault = { readonly at: number } & (
  | { readonly type: "cut"; readonly from: number; readonly to: number; readonly ms: number }
  | {
      readonly type: "partition";
      readonly side: readonly number[];
      readonly oneWay: boolean;
      readonly ms: number;
    }
  | {
      readonly type: "bridge";
      readonly bridge: number;
      readonly side: readonly number[];
      readonly ms: number;
    }
  | {
      readonly type: "lossy";
      readonly link: readonly [from: number, to: number] | null;
      readonly drop: number;
      readonly duplicate: number;
      readonly ms: number;
    }
  | { readonly type: "slow-network"; readonly delayMs: number; readonly ms: number }
  | { readonly type: "reset"; readonly a: number; readonly b: number }
  | { readonly type: "crash"; readonly node: number; readonly ms: number }
  | { readonly type: "crash-all"; readonly ms: number }
  | {
      readonly type: "crash-at-storage-call";
      readonly node: number;
      readonly calls: number;
      readonly ms: number;
    }
  | { readonly type: "pause"; readonly node: number; readonly ms: number }
  | { readonly type: "late-timers"; readonly node: number; readonly byMs: number; readonly ms: number }
  | { readonly type: "slow-disk"; readonly node: number; readonly delayMs: number; readonly ms: number }
  | { readonly type: "hanging-disk"; readonly node: number; readonly ms: number }
  | {
      readonly type: "disk-error";
      readonly node: number;
      readonly error: DiskErrorKind;
      /** The power fails so long after it, which shows what the error cost; null: it does not. */ readonly powerCutAfterMs:
        number | null;
    }
  | { readonly type: "bit-flip"; readonly node: number; readonly ms: number }
  /** The power fails at a sync, and again at one of the first after the start, as often as `calls` says. */
  | {
      readonly type: "crash-loop";
      readonly node: number;
      readonly calls: readonly number[];
      readonly ms: number;
    }
  /** Reads and writes are done in several parts. */
  | { readonly type: "short-transfers"; readonly node: number; readonly ms: number }
  /** A write that was reported done is nowhere on the disk, or `elsewhereBy` bytes away; the power fails after `ms`. */
  | {
      readonly type: "lost-write";
      readonly node: number;
      readonly elsewhereBy: number | null;
      /** The system forgets it, too: the node itself may read that it is not there. */
      readonly forgotten: boolean;
      readonly ms: number;
    }
  /** Whoever leads is cut off for a while, with clients and a disk that may not keep up. */
  | { readonly type: "lonely-leader"; readonly disk: "well" | "slow" | "hanging"; readonly ms: number }
  | { readonly type: "slow-apply"; readonly node: number; readonly delayMs: number; readonly ms: number }
  | { readonly type: "state-machine-failure"; readonly node: number }
  | { readonly type: "quiet"; readonly ms: number }
  /** Somebody asks a node for a snapshot. */
  | { readonly type: "snapshot"; readonly node: number }
  | TargetedFault
  | OperatorFault
  | SnapshotFileFault
  | StageFault
);

/** What tells faults apart. */
export type FaultType = Fault["type"];
export type DiskErrorKind = "io-error" | "no-space" | "short-write" | "failed-sync" | "read-error";

/** What the operator does to the membership. Who it concerns is decided when it is done: by then others are members. */
export type ChangeKind =
  /** A new voter; a new learner. */
  | "add"
  | "learn"
  | "remove"
  | "remove-leader"
  | "promote"
  | "demote"
  /** One goes as another comes: one whose disk is lost, if there is one. */
  | "replace"
  /** Several of these at once. */
  | "several"
  /** All voters but the leader go as the learners take their places, and are cut off before they hear of it. */
  | "exchange"
  /** The leader of two leaves, and dies over it when nobody else has heard yet that it may go; in between, one comes. */
  | "retire"
  /** The leader of two leaves everything to the other, and hears nothing in time from when it says so; in between, one comes. */
  | "bequeath"
  /** A member moves. */
  | "move"
  /** A new voter at an address where nobody is. */
  | "ghost"
  /** The id of a removed member, on an empty disk: it must be refused. */
  | "reuse";

/** What befalls a cluster whose members come and go. */
export type OperatorFault =
  | {
      readonly type: "change";
      readonly how: ChangeKind;
      /** The leader that was asked dies so long after it was; null: it does not. */
      readonly crashLeaderAfterMs: number | null;
    }
  /** Leadership goes to a random node: a voter or not, up or not. */
  | { readonly type: "transfer" }
  /** The disk of whoever leads hangs, when it has something to write. */
  | { readonly type: "stall-leader"; readonly ms: number }
  /** A node closes in good order, and starts again soon. */
  | { readonly type: "close"; readonly node: number }
  /** A node loses its whole disk, and comes back under its id; only if the majority can bear it. */
  | { readonly type: "wipe"; readonly node: number };

/** A fault that seeks out a moment or a node that the algorithm's rules are about, which blind chance seldom hits. */
export type TargetedFault =
  /** Whoever leads is cut off with a minority, and clients who do not know go on asking it. */
  | {
      readonly type: "strand-leader";
      readonly companions: number;
      /** At once, at the beginning. */
      readonly writes: number;
      /** So long after the cut it is asked for the first time, and then until it is over; null: it is not. */
      readonly readsAfterMs: number | null;
      /** Its timers do not come meanwhile, so that it does not notice. */
      readonly lateTimers: boolean;
      /** All that it hears takes so much longer, from before the cut until it is over; what was on its way still comes. */
      readonly answersMs: number;
      /** The companions stand still from before until after, and then hear both leaders in one turn. */
      readonly stunned: boolean;
      readonly ms: number;
    }
  /** The event loop comes round only so often, and then hears all that came meanwhile in one turn. */
  | { readonly type: "busy"; readonly node: number; readonly turnMs: number; readonly ms: number }
  /** All processes stand still and go on at the same time, as their elections then begin. */
  | { readonly type: "freeze"; readonly ms: number }
  /** Of some messages a copy comes again much later, in another term perhaps. Streams have no such copies. */
  | { readonly type: "late-copies"; readonly share: number; readonly byMs: number; readonly ms: number }
  /** A process dies when its next vote is durable, and is back before that election is over. */
  | { readonly type: "crash-voter"; readonly node: number; readonly ms: number };

/** What befalls snapshots, and a node whose owner does not remember what was done. */
export type SnapshotFileFault =
  /** A bit of a file of its snapshots turns over, under a process that may go on, or starts anew. */
  | {
      readonly type: "spoil-snapshot";
      readonly node: number;
      /** How long somebody is waited for who fetches it. */
      readonly patienceMs: number;
      readonly crashShare: number;
    }
  /** The next operation of this kind on a file of its snapshots fails. */
  | { readonly type: "snapshot-disk-error"; readonly node: number; readonly error: DiskErrorKind }
  /** Somebody creates the cluster once more: with the members that it began with, or with others. */
  | { readonly type: "found-again"; readonly node: number; readonly others: boolean };

/** What a stage brings about, beside the common faults. */
export type StageFault =
  /** Whoever leads hands over, and from the moment that it says so hears nothing in time, while clients go on asking it. */
  | { readonly type: "deaf-handover"; readonly ms: number }
  /** Some messages, and they alone, come much later than others. Streams have no such messages. */
  | { readonly type: "stragglers"; readonly share: number; readonly byMs: number; readonly ms: number }
  /** A process dies at one of its calls to the disk, counted from when a snapshot's file is complete there. */
  | {
      readonly type: "crash-at-snapshot";
      readonly node: number;
      readonly calls: number;
      readonly ms: number;
    };
