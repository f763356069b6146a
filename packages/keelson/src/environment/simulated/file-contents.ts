// The bytes of one simulated file: what reads show, and what a crash would leave of them.

/** A sector: what a disk writes as a whole or not at all. */
const SECTOR_BYTES = 512;

/** A write that was reported as done, and that the disk has lost or put elsewhere. See `FileFault`. */
interface LostWrite {
  /** The offset in the file at which the write was meant to be, in bytes. */
  readonly position: number;
  /** A copy of its bytes. */
  readonly bytes: Uint8Array;
  /** Whether reads stop showing the write once its loss is final. */
  readonly forgotten: boolean;
  /** Whether the file was written to again since. */
  overtaken: boolean;
}

/** The contents of one simulated file. */
export class FileContents {
  /** What reads return, and `size`: the operating system's cache. */
  visible: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  /**
   * What is certainly on disk. A power cut leaves this, and any of the `dirty` sectors as they are in
   * `visible`.
   */
  durable: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  /**
   * The numbers of the sectors that were written since the last sync, and may differ in `visible` and
   * `durable`.
   */
  readonly dirty: Set<number> = new Set<number>();
  /** Lost writes whose loss isn't final yet: a crash now would find them in their places on the disk. */
  #lostWrites: LostWrite[] = [];

  write(bytes: Uint8Array, position: number): void {
    const end = position + bytes.length;
    for (const lost of this.#lostWrites) {
      lost.overtaken = true;
      if (lost.position < end && position < lost.position + lost.bytes.length) this.#putBack(lost);
    }
    if (end > this.visible.length) this.visible = resized(this.visible, end);
    this.visible.set(bytes, position);
    const sectors = sectorsOf(position, bytes.length);
    for (let sector = sectors.from; sector < sectors.to; sector++) this.dirty.add(sector);
  }

  /** Writes `bytes` visibly. The disk keeps nothing of them, or keeps them `elsewhereBy` bytes away. */
  writeLost(bytes: Uint8Array, position: number, elsewhereBy: number | null, forgotten: boolean): void {
    this.write(bytes, position);
    const sectors = sectorsOf(position, bytes.length);
    for (let sector = sectors.from; sector < sectors.to; sector++) this.dirty.delete(sector);
    this.#lostWrites.push({ position, bytes: new Uint8Array(bytes), forgotten, overtaken: false });
    if (elsewhereBy === null) return;
    // Only within the file's size on disk: a misdirected write doesn't make a file longer.
    const at = Math.max(0, position + elsewhereBy);
    const until = Math.max(at, Math.min(at + bytes.length, this.durable.length));
    this.durable.set(bytes.subarray(0, until - at), Math.min(at, this.durable.length));
  }

  /**
   * Makes the size and all sectors durable. The loss of a write becomes final if a later write to the file is
   * made durable by this.
   */
  syncAll(): void {
    this.sync(() => true, true);
    this.#settleLostWrites();
  }

  /**
   * Makes the sectors of this range durable, and the size up to its end: what a durable write promises. All
   * other sectors stay dirty.
   */
  syncRange(position: number, length: number): void {
    const end = Math.min(position + length, this.visible.length);
    if (end > this.durable.length) this.durable = resized(this.durable, end);
    const { from, to } = sectorsOf(position, length);
    for (let sector = from; sector < to; sector++) {
      if (this.dirty.delete(sector)) this.#storeSector(sector);
    }
    this.#settleLostWrites();
  }

  /** Sectors of this range are not written by later syncs: a sync of them failed. */
  forgetDirty(position: number, length: number): void {
    const { from, to } = sectorsOf(position, length);
    for (let sector = from; sector < to; sector++) this.dirty.delete(sector);
  }

  #settleLostWrites(): void {
    const settled = this.#lostWrites.filter(({ overtaken }) => overtaken);
    this.#lostWrites = this.#lostWrites.filter(({ overtaken }) => !overtaken);
    for (const { position, bytes, forgotten } of settled) {
      if (forgotten) this.visible.set(this.durable.subarray(position, position + bytes.length), position);
    }
  }

  /**
   * Leaves what a crash leaves; `keep` decides for each dirty sector, and for the size, whether it was
   * written.
   */
  crash(keep: () => boolean): void {
    for (const lost of this.#lostWrites) this.#putBack(lost);
    this.sync(keep, keep());
    this.visible = this.durable.slice();
  }

  /** Puts a lost write in its place on the disk: it was not lost after all, only late. */
  #putBack(lost: LostWrite): void {
    this.#lostWrites = this.#lostWrites.filter((other) => other !== lost);
    const end = lost.position + lost.bytes.length;
    if (end > this.durable.length) this.durable = resized(this.durable, end);
    this.durable.set(lost.bytes, lost.position);
  }

  /** Makes the dirty sectors durable for which `keep` returns true, and the size if `keepSize`. */
  sync(keep: (sector: number) => boolean, keepSize: boolean): void {
    if (keepSize && this.durable.length !== this.visible.length)
      this.durable = resized(this.durable, this.visible.length);
    for (const sector of this.dirty) {
      if (keep(sector)) this.#storeSector(sector);
    }
    this.dirty.clear();
  }

  /** Copies one sector, as far as both have it, from `visible` to `durable`. */
  #storeSector(sector: number): void {
    const from = sector * SECTOR_BYTES;
    const until = Math.min(from + SECTOR_BYTES, this.durable.length, this.visible.length);
    if (from < until) this.durable.set(this.visible.subarray(from, until), from);
  }

  /** Sets the visible size. New bytes are zero. */
  truncate(bytes: number): void {
    this.visible = resized(this.visible, bytes);
  }

  copy(): FileContents {
    const copy = new FileContents();
    copy.visible = this.visible.slice();
    copy.durable = this.durable.slice();
    for (const sector of this.dirty) copy.dirty.add(sector);
    copy.#lostWrites = this.#lostWrites.map((lost) => ({ ...lost }));
    return copy;
  }
}

/** The numbers of the sectors that these bytes touch: [from, to). */
function sectorsOf(position: number, length: number): { readonly from: number; readonly to: number } {
  return {
    from: Math.floor(position / SECTOR_BYTES),
    to: Math.ceil((position + length) / SECTOR_BYTES),
  };
}

/** A copy with this length: cut, or filled up with zeros. */
function resized(bytes: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  const result = new Uint8Array(length);
  result.set(bytes.subarray(0, length));
  return result;
}
