// Asks a node one question on a connection of its own, which is closed after the answer: whether it refuses
// this node, or whether this node may create a cluster with it.
import type { Hello, Inquiry } from "../../codec/frame-control-message.ts";
import type { Frame } from "../../codec/frame.ts";
import type { Timer } from "../../environment/environment.ts";
import type { FramedConnection, FrameHandler } from "./framed-connection.ts";
import type { TcpContext } from "./tcp-context.ts";

/**
 * How long to wait for the answer, in milliseconds. A node that hasn't answered by then counts as not running
 * yet.
 */
const ANSWER_MS_MAX = 1_000;

/** What the node answered; null: it can't be reached, or didn't answer in time. */
export type ProbeAnswer = { readonly refusal: string | null } | null;

/** What to say when the connection is open, and the type of the frame that answers it if the node agrees. */
export interface ProbeQuestion {
  /** null: there is nothing to ask any more. */
  readonly question: () => Hello | Inquiry | null;
  readonly agreement: "welcome" | "consent";
}

/** Asks the question and resolves `answer`, once. It closes its connection in every case. */
export class HandshakeProbe implements FrameHandler {
  readonly answer: Promise<ProbeAnswer>;
  readonly #context: TcpContext;
  readonly #connection: FramedConnection;
  readonly #question: ProbeQuestion;
  readonly #timer: Timer;
  #resolve: (answer: ProbeAnswer) => void = () => undefined;

  constructor(context: TcpContext, address: string, question: ProbeQuestion) {
    this.#context = context;
    this.#question = question;
    this.answer = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    this.#connection = context.dial(address, this);
    this.#timer = context.host.environment.setTimer(ANSWER_MS_MAX, () => {
      this.close("no answer in time");
    });
  }

  close(reason: string): void {
    this.#timer.cancel();
    this.#resolve(null);
    this.#connection.destroy(reason);
  }

  onOpen(): void {
    const question = this.#question.question();
    if (question === null) {
      this.close("there is nothing to ask");
      return;
    }
    const { certificate } = this.#connection;
    const refusal = this.#context.security.refusalOf(certificate, question.to, question.clusterId);
    if (refusal === null) {
      this.#connection.sendControl(question);
      return;
    }
    this.#distrust(refusal);
    this.close(refusal);
  }

  onFrame(frame: Frame): void {
    const { agreement } = this.#question;
    const isAgreement = frame.type === agreement;
    this.#resolve({
      refusal: isAgreement ? null : `it sent a ${frame.type} frame where a ${agreement} belongs`,
    });
    this.#timer.cancel();
    this.#connection.closeWithGoodbye("this was only a question");
  }

  onGoodbye(reason: string): void {
    this.#resolve({ refusal: reason });
  }

  onClosed(): void {
    this.#timer.cancel();
    const { refusal } = this.#connection;
    if (refusal !== undefined) this.#distrust(refusal);
    this.#resolve(null);
  }

  /** This end refuses the other one. To whoever asked, that is as good as the reverse. */
  #distrust(reason: string): void {
    this.#resolve({ refusal: `this node doesn't trust what answers there: ${reason}` });
  }
}
