/**
 * Takes over changed files while the program runs: certificates, keys and tokens are replaced without a
 * restart.
 *
 * It reads the files every few seconds and compares their contents. Notices of the file system would come
 * sooner, but not for files on all file systems, nor for those behind links that are replaced, which is how
 * containers get new secrets.
 *
 * The library rereads the files of `tcp`'s options itself (credential-files.ts in its transport/tcp): by the
 * node's environment, so that a simulated node reads simulated files. What is reread here belongs to the
 * server's own ports, and is also checked for who else may read it.
 */
import { reasonOf } from "./errors.ts";

/** How often the files are read. They have a few kilobytes. */
export const RELOAD_MS = 5000;

/** What is reloaded. */
export interface Reloadable {
  /** What the files hold, for log lines. */
  readonly what: string;
  /** The contents of the files. May throw: a file is missing, or open to others. */
  readonly read: () => Promise<readonly string[]>;
  /** Takes over other contents. Throws if they aren't valid, and then changes nothing. */
  readonly use: (contents: readonly string[]) => void;
}

/** Receives log lines. */
export type ReloadLog = (level: "info" | "warn", text: string) => void;

/** Rereads one set of files until it is closed. */
export class Reloader {
  readonly #target: Reloadable;
  readonly #onLog: ReloadLog;
  readonly #everyMs: number;
  /** The contents in force. */
  #current: readonly string[];
  /**
   * Why the last attempt failed. The same reason twice in a row is logged: several files are seldom replaced
   * in the same moment, so the first failure may be one half of a change.
   */
  #failure: { readonly reason: string; readonly isLogged: boolean } | null = null;
  #timer: NodeJS.Timeout | null = null;
  #isClosed = false;

  private constructor(target: Reloadable, contents: readonly string[], onLog: ReloadLog, everyMs: number) {
    this.#target = target;
    this.#current = contents;
    this.#onLog = onLog;
    this.#everyMs = everyMs;
    this.#schedule();
  }

  /** Reads and uses the files, and then follows them. Rejects if they can't be used. */
  static async start(target: Reloadable, onLog: ReloadLog, everyMs: number = RELOAD_MS): Promise<Reloader> {
    const contents = await target.read();
    target.use(contents);
    return new Reloader(target, contents, onLog, everyMs);
  }

  close(): void {
    this.#isClosed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  #schedule(): void {
    if (this.#isClosed) return;
    this.#timer = setTimeout(() => {
      void this.#reload().finally(() => {
        this.#schedule();
      });
    }, this.#everyMs);
    // The files don't keep a process running that has nothing else to do.
    this.#timer.unref();
  }

  async #reload(): Promise<void> {
    try {
      const contents = await this.#target.read();
      if (this.#isClosed) return;
      if (!isSame(contents, this.#current)) {
        this.#target.use(contents);
        this.#current = contents;
        this.#onLog("info", `${this.#target.what}: the changed files are in use now`);
      } else if (this.#failure?.isLogged === true) {
        this.#onLog("info", `${this.#target.what}: the files are again as they were`);
      }
      this.#failure = null;
    } catch (error) {
      this.#fail(reasonOf(error));
    }
  }

  #fail(reason: string): void {
    const before = this.#failure;
    const isSecond = before?.reason === reason;
    if (isSecond && !before.isLogged)
      this.#onLog(
        "warn",
        `${this.#target.what}: what was in use stays in use, because of a change: ${reason}`,
      );
    this.#failure = { reason, isLogged: isSecond };
  }
}

function isSame(some: readonly string[], others: readonly string[]): boolean {
  return some.length === others.length && some.every((text, at) => text === others[at]);
}
