/**
 * Says on stderr what a command waits for, once that has taken `SILENT_MS_MAX`: a command that is silent
 * can't be told from one that hangs.
 */
import { ProgressLine } from "./progress-line.ts";

/** Nothing is shown in the first milliseconds of a command, up to this many. */
const SILENT_MS_MAX = 600;

/** How often the current text is offered to the progress line, which shows it if it is new. */
const REPEAT_MS = 300;

/** Shows what a command waits for, once it has run for `SILENT_MS_MAX`. */
export class WaitNotice {
  readonly #line: ProgressLine;
  readonly #began = performance.now();
  readonly #timer: NodeJS.Timeout;
  /** What is waited for; "": nothing. */
  #text = "";

  constructor(line: ProgressLine = new ProgressLine()) {
    this.#line = line;
    this.#timer = setInterval(() => {
      this.#show();
    }, REPEAT_MS);
    // This timer must not keep the process running when the command's work is done.
    this.#timer.unref();
  }

  /** Sets what the command waits for from now on, in words. */
  waitFor(text: string): void {
    this.#text = text;
    this.#show();
  }

  /** To be called when the command waits for nothing any more. Clears the line on a terminal. */
  end(): void {
    clearInterval(this.#timer);
    this.#line.end();
  }

  #show(): void {
    if (this.#text !== "" && performance.now() - this.#began >= SILENT_MS_MAX) this.#line.show(this.#text);
  }
}

/** Does the work, and says what is waited for if it takes longer than `SILENT_MS_MAX`. */
export async function withNotice<T>(text: string, work: (notice: WaitNotice) => Promise<T>): Promise<T> {
  const notice = new WaitNotice();
  notice.waitFor(text);
  try {
    return await work(notice);
  } finally {
    notice.end();
  }
}
