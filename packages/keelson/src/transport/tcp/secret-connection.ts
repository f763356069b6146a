/*
 * A connection whose two ends have proved to each other that they know the cluster's secret, and on which
 * nobody else can put bytes. Nothing is encrypted.
 *
 * The dialing end (D) and the accepting end (A) say, before anything else:
 *
 * | from | bytes | meaning |
 * |---|---|---|
 * | D | "KLA" and 1, then 32 | the version, and a random number |
 * | A | "KLA" and 1, then 32 | the version, and a random number |
 * | D | 1, then 32 for each | how many secrets D has, and for each a proof that D knows it |
 * | A | 32 | a proof that A knows one of them, which both use from now on |
 *
 * Then each end sends records: length of the contents (4 bytes, little-endian), the contents, and 16 bytes of
 * authentication. The contents of all records, one after the other, are the bytes that the owner writes.
 *
 * Every proof and key is HMAC-SHA256(secret, purpose, number of D, number of A). There are four purposes:
 * D's proof, A's proof, D's records, A's records. A record's authentication is the beginning of
 * HMAC-SHA256(key, number of the record, length, contents).
 *
 * What that prevents, without ever sending the secret:
 * - Replay: each end has chosen one of the two numbers, so old proofs and records don't fit.
 * - Reflection: the purposes differ by direction, so what an end has sent isn't what it accepts.
 * - Insertion, change, omission and exchange of records: the key is known only to the two ends, and each
 *   record has its number.
 * - A connection that is passed on to another node than the dialing end meant: the hello, which is in the
 *   first record, names the cluster, both nodes and the sender, and is checked as always.
 *
 * Who can read the network can read everything but the secret. With one recorded proof, guesses of the secret
 * can be checked at leisure, so it has to be random and long (`SECRET_BYTES_MIN`).
 */
import { hmacSha256, isEqualInConstantTime } from "#platform";
import { concatBytes } from "../../codec/copy-bytes.ts";
import type { Certificate, Connection, ConnectionHandler } from "../../environment/environment.ts";
import { PROOF_MAGIC, unprovenProtocolOf } from "./foreign-protocol.ts";

/** A shorter secret could be guessed. */
export const SECRET_BYTES_MIN = 32;
/** The most secrets that a node has at a time: two while they are being replaced, and some to spare. */
export const SECRETS_MAX = 4;

const NONCE_BYTES = 32;
const PROOF_BYTES = 32;
const LENGTH_BYTES = 4;
const TAG_BYTES = 16;

/**
 * The most bytes of a record's contents. The receiver holds a record until all of it has arrived, because
 * nothing in it may be looked at before. A larger write is split.
 */
const RECORD_BYTES_MAX = 256 * 1024;

/** A smaller record is copied into one buffer, and is one write. A larger one's contents are not copied. */
const COPY_BYTES_MAX = 16 * 1024;

type Purpose = "dialer's proof" | "acceptor's proof" | "dialer's records" | "acceptor's records";

/** One end of a connection that is proved by a secret. Takes over `inner`, and is used in its place. */
export class SecretConnection implements Connection, ConnectionHandler {
  handler: ConnectionHandler | null = null;
  readonly #inner: Connection;
  readonly #isDialer: boolean;
  /** This node's secrets, the newest first. Dropped when one was agreed on. */
  #secrets: readonly Uint8Array[];
  readonly #ownNonce: Uint8Array;
  #peerNonce: Uint8Array = new Uint8Array(0);
  /**
   * What the peer has to send next. "nonce": its magic and number. "count" and "proofs": how many proofs, and
   * the proofs; only from the dialer. "answer": the acceptor's proof. "length" and "contents": a record's
   * parts. "ended": nothing, this end has closed the connection.
   */
  #awaited: "nonce" | "count" | "proofs" | "answer" | "length" | "contents" | "ended" = "nonce";
  /** How many bytes `#awaited` takes. */
  #awaitedBytes = PROOF_MAGIC.length + NONCE_BYTES;
  /** The bytes of `#awaited` that came in earlier chunks, at the front. Grows as they arrive. */
  #held: Uint8Array = new Uint8Array(0);
  #heldBytes = 0;
  /** The keys of the records; null until both ends have proved themselves. */
  #ownRecords: RecordKey | null = null;
  #peerRecords: RecordKey | null = null;
  #refusal: string | undefined;

  /** `nonce`: 32 bytes that nobody can predict. `secrets`: at least one. */
  constructor(inner: Connection, secrets: readonly Uint8Array[], isDialer: boolean, nonce: Uint8Array) {
    this.#inner = inner;
    this.#secrets = secrets;
    this.#isDialer = isDialer;
    this.#ownNonce = nonce;
    inner.handler = this;
  }

  get peer(): string {
    return this.#inner.peer;
  }

  get certificate(): Certificate | undefined {
    return this.#inner.certificate;
  }

  get refusal(): string | undefined {
    return this.#refusal ?? this.#inner.refusal;
  }

  /** Counts what the records add to the owner's bytes as well, since it is held like them. */
  get bufferedBytes(): number {
    return this.#inner.bufferedBytes;
  }

  /** Does nothing before both ends have proved themselves. */
  write(bytes: Uint8Array): void {
    const key = this.#ownRecords;
    if (key === null) return;
    for (let from = 0; from < bytes.length; from += RECORD_BYTES_MAX) {
      const contents = bytes.subarray(from, from + RECORD_BYTES_MAX);
      const length = lengthOf(contents);
      const tag = key.nextTag(length, contents);
      if (contents.length <= COPY_BYTES_MAX) this.#inner.write(concatBytes([length, contents, tag]));
      else for (const part of [length, contents, tag]) this.#inner.write(part);
    }
  }

  pause(): void {
    this.#inner.pause();
  }

  resume(): void {
    this.#inner.resume();
  }

  destroy(reason?: string): void {
    this.#awaited = "ended";
    this.#inner.destroy(reason);
  }

  onOpen(): void {
    this.#inner.write(concatBytes([PROOF_MAGIC, this.#ownNonce]));
  }

  onData(bytes: Uint8Array): void {
    let at = 0;
    while (this.#awaited !== "ended") {
      const missing = this.#awaitedBytes - this.#heldBytes;
      const part = bytes.subarray(at, at + missing);
      at += part.length;
      if (part.length < missing) {
        this.#hold(part);
        if (this.#awaited === "nonce") this.#checkMagic(this.#held.subarray(0, this.#heldBytes));
        return;
      }
      if (this.#heldBytes === 0) {
        this.#take(part);
        continue;
      }
      this.#hold(part);
      const whole = this.#held.subarray(0, this.#heldBytes);
      this.#held = new Uint8Array(0);
      this.#heldBytes = 0;
      this.#take(whole);
    }
  }

  onDrain(): void {
    this.handler?.onDrain?.();
  }

  onClose(reason: string): void {
    this.#awaited = "ended";
    this.handler?.onClose(this.#refusal ?? reason);
  }

  #hold(part: Uint8Array): void {
    const bytes = this.#heldBytes + part.length;
    if (bytes > this.#held.length) {
      // Doubling keeps the cost of copying linear. What was announced and hasn't come takes no memory.
      const larger = new Uint8Array(Math.min(this.#awaitedBytes, Math.max(bytes, 2 * this.#held.length)));
      larger.set(this.#held.subarray(0, this.#heldBytes));
      this.#held = larger;
    }
    this.#held.set(part, this.#heldBytes);
    this.#heldBytes = bytes;
  }

  #await(what: "count" | "proofs" | "answer" | "length" | "contents", bytes: number): void {
    this.#awaited = what;
    this.#awaitedBytes = bytes;
  }

  #take(bytes: Uint8Array): void {
    switch (this.#awaited) {
      case "nonce":
        this.#onNonce(bytes);
        break;
      case "count":
        this.#onCount(bytes[0] ?? 0);
        break;
      case "proofs":
        this.#onProofs(bytes);
        break;
      case "answer":
        this.#onAnswer(bytes);
        break;
      case "length":
        this.#onLength(viewOf(bytes).getUint32(0, true));
        break;
      case "contents":
        this.#onContents(bytes);
        break;
      case "ended":
        break;
    }
  }

  /** False: the peer is refused. `first` may be fewer bytes than the magic. */
  #checkMagic(first: Uint8Array): boolean {
    const magic = PROOF_MAGIC.subarray(0, first.length);
    if (magic.every((byte, at) => byte === first[at])) return true;
    this.#refuse(
      unprovenProtocolOf(first) ?? "it sent no proof of the cluster's secret, but another protocol",
    );
    return false;
  }

  #onNonce(bytes: Uint8Array): void {
    if (!this.#checkMagic(bytes)) return;
    this.#peerNonce = bytes.slice(PROOF_MAGIC.length);
    if (this.#isDialer) {
      const proofs = this.#secrets.map((secret) => this.#derive(secret, "dialer's proof"));
      this.#inner.write(concatBytes([Uint8Array.of(proofs.length), ...proofs]));
      this.#await("answer", PROOF_BYTES);
    } else {
      this.#inner.write(concatBytes([PROOF_MAGIC, this.#ownNonce]));
      this.#await("count", 1);
    }
  }

  #onCount(count: number): void {
    if (count >= 1 && count <= SECRETS_MAX) this.#await("proofs", count * PROOF_BYTES);
    else this.#refuse(`it sent ${String(count)} proofs; 1 to ${String(SECRETS_MAX)} are possible`);
  }

  #onProofs(bytes: Uint8Array): void {
    const secret = this.#secretOf(bytes, "dialer's proof");
    if (secret === undefined) {
      this.#refuse("it has another secret than this node");
      return;
    }
    this.#inner.write(this.#derive(secret, "acceptor's proof"));
    this.#open(secret);
  }

  #onAnswer(bytes: Uint8Array): void {
    const secret = this.#secretOf(bytes, "acceptor's proof");
    if (secret === undefined) {
      this.#refuse("it has another secret than this node");
      return;
    }
    this.#open(secret);
    this.handler?.onOpen?.();
  }

  /** The secret that one of the proofs proves. Compares all with all, so the time tells nothing. */
  #secretOf(proofs: Uint8Array, purpose: Purpose): Uint8Array | undefined {
    let found: Uint8Array | undefined;
    for (const secret of this.#secrets) {
      const expected = this.#derive(secret, purpose);
      for (let at = 0; at < proofs.length; at += PROOF_BYTES) {
        const isEqual = isEqualInConstantTime(expected, proofs.subarray(at, at + PROOF_BYTES));
        if (isEqual) found ??= secret;
      }
    }
    return found;
  }

  #open(secret: Uint8Array): void {
    const [own, peer] = (["dialer's records", "acceptor's records"] as const).map(
      (purpose) => new RecordKey(this.#derive(secret, purpose)),
    );
    this.#ownRecords = (this.#isDialer ? own : peer) ?? null;
    this.#peerRecords = (this.#isDialer ? peer : own) ?? null;
    this.#secrets = [];
    this.#await("length", LENGTH_BYTES);
  }

  #onLength(length: number): void {
    if (length >= 1 && length <= RECORD_BYTES_MAX) this.#await("contents", length + TAG_BYTES);
    else this.#refuse(`it announces a record of ${String(length)} bytes`);
  }

  #onContents(bytes: Uint8Array): void {
    const contents = bytes.subarray(0, -TAG_BYTES);
    const expected = this.#peerRecords?.nextTag(lengthOf(contents), contents);
    if (expected === undefined || !isEqualInConstantTime(expected, bytes.subarray(-TAG_BYTES))) {
      this.#refuse("a record isn't from the node that proved the secret, or was changed on its way");
      return;
    }
    this.#await("length", LENGTH_BYTES);
    this.handler?.onData(contents);
  }

  #derive(secret: Uint8Array, purpose: Purpose): Uint8Array {
    const nonces = [this.#ownNonce, this.#peerNonce];
    if (!this.#isDialer) nonces.reverse();
    const label = new TextEncoder().encode(`keelson peer secret 1, ${purpose}:`);
    return hmacSha256(secret, label, ...nonces);
  }

  #refuse(reason: string): void {
    this.#refusal = reason;
    this.#awaited = "ended";
    this.#inner.destroy(reason);
  }
}

/** Authenticates the records of one direction, in their order. */
class RecordKey {
  readonly #key: Uint8Array;
  /** The number of the next record, from 0. */
  #number = 0;

  constructor(key: Uint8Array) {
    this.#key = key;
  }

  nextTag(length: Uint8Array, contents: Uint8Array): Uint8Array {
    const number = new Uint8Array(8);
    const view = viewOf(number);
    view.setUint32(0, this.#number % 2 ** 32, true);
    view.setUint32(4, Math.floor(this.#number / 2 ** 32), true);
    this.#number++;
    return hmacSha256(this.#key, number, length, contents).subarray(0, TAG_BYTES);
  }
}

function lengthOf(contents: Uint8Array): Uint8Array {
  const length = new Uint8Array(LENGTH_BYTES);
  viewOf(length).setUint32(0, contents.length, true);
  return length;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
