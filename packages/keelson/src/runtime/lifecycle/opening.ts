// The parts of a node that were opened so far, and the end of opening if one of them hangs.
import type { Environment } from "../../environment/environment.ts";
import type { StallWatch } from "../loop/index.ts";
import { errorOf, failureOfHang } from "../shared/index.ts";
import { shutDown, type ClosingStep } from "./shutdown.ts";

/** Opens parts one after another, and closes them again if a later one fails or hangs. */
export class Opening {
  readonly #watch: StallWatch;
  readonly #environment: Environment;
  readonly #warn: (text: string) => void;
  /** Rejects when the state machine or the snapshot store hangs. */
  readonly #hung = Promise.withResolvers<never>();
  /** The parts that are open, in the order in which they were opened. */
  readonly #opened: ClosingStep[] = [];
  /** Set once, by `undo`: what is opened after that is closed at once. */
  #isUndone = false;

  constructor(watch: StallWatch, environment: Environment, warn: (text: string) => void) {
    this.#watch = watch;
    this.#environment = environment;
    this.#warn = warn;
    this.#hung.promise.catch(() => undefined);
    watch.attach({
      stallChanged: () => undefined,
      hung: (hang) => {
        if (hang.part === "log") return;
        this.#hung.reject(errorOf(failureOfHang(hang, "so the node is not opened"), "not-done"));
      },
    });
  }

  /** Notes that a part is open, so that `undo` closes it. */
  opened(what: string, close: () => Promise<void>): void {
    this.#opened.push({ what, close });
  }

  /** Runs a step; rejects if it hangs. `closing`: the step opens a part, and this closes it again. */
  run<T>(step: () => Promise<T>, closing?: ClosingStep): Promise<T> {
    const running = step().then((result) => {
      if (closing === undefined) return result;
      // The part hung, opening was given up, and then the part was opened after all. Nobody else would close
      // it, and its lock would keep the node from being opened again.
      if (this.#isUndone) void shutDown([closing], this.#environment, this.#warn);
      else this.#opened.push(closing);
      return result;
    });
    return Promise.race([running, this.#hung.promise]);
  }

  /** Closes what was opened, the last part first, and waits only a limited time for each (`shutDown`). */
  async undo(): Promise<void> {
    this.#isUndone = true;
    await shutDown(this.#opened.reverse(), this.#environment, this.#warn);
    this.#watch.stop();
  }
}
