/**
 * What the harness of the `library` part and a member's process say to each other, whatever language the
 * member is written in. The process is started with the arguments `ID DIRECTORY PORT,PORT,PORT`, where ID is
 * 1 to 3 and the ports are those of all members. Both sides write one JSON object a line.
 *
 * The member prints `{"leader":true}` whenever it becomes the leader. The harness then sends it jobs on its
 * standard input, and the member prints the figures of each. End of input ends it.
 */

/** W writers at once in the leader's process. Each writes its next command when the last is applied. */
export interface Job {
  readonly writers: number;
  /** Writes that begin in this time are not counted. */
  readonly warmUpMs: number;
  readonly ms: number;
  /** The length of each command. */
  readonly bytes: number;
}

/** Of the writes that began after the warm-up. Latencies are in milliseconds. */
export interface Figures {
  readonly writes: number;
  readonly ms: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export interface LeaderReport {
  readonly leader: true;
}
