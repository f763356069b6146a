// Files with certificates, keys and secrets, which may be replaced while the node runs.
import type { Timer } from "../../environment/environment.ts";
import { InvalidOptionError, textOfThrown } from "../../errors.ts";
import type { TransportHost } from "../transport.ts";

/** The thing itself, or the file that holds it. */
export type FileOr<T> = T | { readonly file: string };

/** What files hold, by path. */
export type FileTexts = ReadonlyMap<string, string>;

/** More can't be certificates, and would be read into memory. */
const FILE_BYTES_MAX = 1024 * 1024;

/**
 * Reads files at the start and then every `everyMs`, and reports when any of them has changed. They are read
 * rather than watched: that works on every file system, and however a file is replaced (written, renamed, or
 * behind a link that is turned). A change that can't be used is logged once, and the last usable contents
 * stay in use. Certificate and key are replaced one after the other, so a pair that doesn't fit may be read;
 * a later reading finds the right one.
 */
export class CredentialFiles {
  readonly #host: TransportHost;
  readonly #everyMs: number;
  readonly #use: (texts: FileTexts) => void;
  readonly #check: () => void;
  /** The contents in use. */
  #texts: FileTexts = new Map();
  readonly #paths = new Set<string>();
  #timer: Timer | null = null;
  /** The reading under way. */
  #reading: Promise<void> = Promise.resolve();
  #isClosed = false;
  /** What was logged last, so that a file that stays broken is logged once. */
  #loggedFault = "";

  /**
   * `use` takes the contents of all files. It throws if they can't be used, and then gets them again after
   * the next reading. `check` is called after each reading.
   */
  constructor(host: TransportHost, everyMs: number, use: (texts: FileTexts) => void, check: () => void) {
    this.#host = host;
    this.#everyMs = everyMs;
    this.#use = use;
    this.#check = check;
  }

  /** Before `start`. */
  add(path: string): void {
    this.#paths.add(path);
  }

  /** Rejects if a file can't be read, or what they hold can't be used. */
  async start(): Promise<void> {
    const texts = await this.#readAll();
    this.#use(texts);
    this.#texts = texts;
    this.#check();
    this.#schedule();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    await this.#reading;
  }

  #schedule(): void {
    if (this.#isClosed) return;
    this.#timer = this.#host.environment.setTimer(this.#everyMs, () => {
      this.#reading = this.#readAgain();
    });
  }

  async #readAgain(): Promise<void> {
    try {
      const texts = await this.#readAll();
      if (this.#isClosed) return;
      if ([...texts].some(([path, text]) => this.#texts.get(path) !== text)) {
        this.#use(texts);
        this.#texts = texts;
      }
      this.#loggedFault = "";
    } catch (error) {
      this.#logFault(textOfThrown(error));
    }
    if (!this.#isClosed) this.#check();
    this.#schedule();
  }

  #logFault(fault: string): void {
    if (this.#isClosed || fault === this.#loggedFault) return;
    this.#loggedFault = fault;
    this.#host.log("warn", `${fault}; the connections to other nodes go on with what was read before`);
  }

  async #readAll(): Promise<FileTexts> {
    const texts = new Map<string, string>();
    for (const path of this.#paths) texts.set(path, await this.#read(path));
    return texts;
  }

  async #read(path: string): Promise<string> {
    try {
      const file = await this.#host.environment.files.open(path, "read");
      try {
        const bytes = new Uint8Array(Math.min(await file.size(), FILE_BYTES_MAX + 1));
        const count = await file.read(bytes, 0);
        if (count > FILE_BYTES_MAX) throw new Error(`it has more than ${String(FILE_BYTES_MAX)} bytes`);
        return new TextDecoder().decode(bytes.subarray(0, count));
      } finally {
        await file.close();
      }
    } catch (error) {
      throw new InvalidOptionError(`tcp: ${path} can't be read: ${textOfThrown(error)}`);
    }
  }
}
