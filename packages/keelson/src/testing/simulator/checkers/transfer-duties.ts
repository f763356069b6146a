/**
 * DUTY: a leader that hands over does it well.
 *
 * - A transfer to nobody in particular goes to the voter that holds most, of those that answer.
 * - Once the target holds the whole log it is told in every heartbeat round, because the message may be
 *   lost.
 */
import type { AddressedMessage } from "../../../core/action.ts";
import type { RaftNode } from "../../../core/node.ts";
import type { NodeId } from "../../../core/position.ts";
import type { Input } from "../../model/index.ts";
import { duty, sentTo } from "./duty.ts";

/** A transfer, as it was when actions were last taken. */
interface Ready {
  readonly to: NodeId;
  readonly round: number;
}

/** See the file's header. Made anew for each term that the node leads. */
export class TransferDuties {
  readonly #core: RaftNode;
  /** The transfer whose target held everything, when actions were last taken; null: there was none. */
  #ready: Ready | null = null;
  /**
   * Whether the core was given a message or a timeout since actions were last taken. Only then does it look
   * whether it must tell the target.
   */
  #isAwake = false;
  /** The round in which each target was told last. */
  readonly #toldIn = new Map<NodeId, number>();

  constructor(core: RaftNode) {
    this.#core = core;
  }

  /** The core was given this input: what concerns a transfer. */
  stepped(input: Input): void {
    this.#isAwake ||= input.type === "message" || input.type === "timeout";
    if (input.type === "transfer") this.#asked(input.to, input.answer);
  }

  /**
   * Checks whom the leader chose, if the caller asked for a transfer to whichever node is best (`to` is
   * null).
   */
  #asked(to: NodeId | null, answer: Extract<Input, { type: "transfer" }>["answer"]): void {
    if (typeof answer === "string" || to !== null) return;
    const core = this.#core;
    const chosen = core.progress(answer.to);
    duty(
      chosen?.recentlyActive === true,
      () => `${core.id} hands over to ${answer.to}, which doesn't answer`,
    );
    for (const id of core.config.voters) {
      const progress = core.progress(id);
      duty(
        progress?.recentlyActive !== true || progress.match <= chosen.match,
        () => `${core.id} hands over to ${answer.to}, and ${id} holds more of the log`,
      );
    }
  }

  taken(messages: readonly AddressedMessage[], round: number): void {
    const { transferTarget: to, log, id } = this.#core;
    const before = this.#ready;
    const progress = to === null ? undefined : this.#core.progress(to);
    const isReady = progress?.match === log.last.index && progress.lostAfter === null;
    this.#ready = to !== null && isReady ? { to, round } : null;
    const isAwake = this.#isAwake;
    this.#isAwake = false;
    if (to === null) return;
    if (sentTo(messages, "timeout-now", to).length > 0) this.#toldIn.set(to, round);
    // A TimeoutNow isn't required for the present round yet. A heartbeat round for reads begins while actions
    // are taken, and its TimeoutNow follows only with the next input.
    duty(
      !isAwake || before?.to !== to || !isReady || (this.#toldIn.get(to) ?? 0) >= before.round,
      () => `${id} doesn't ask ${to} to take over, which holds the whole log`,
    );
  }
}
