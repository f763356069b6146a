import { toHex } from "../codec/hex.ts";

const ID_BYTES = 16;

/** 128 random bits as hexadecimal digits: the id of a log, or of a snapshot. */
export function randomId(random: () => number): string {
  return toHex(Uint8Array.from({ length: ID_BYTES }, () => Math.floor(random() * 256)));
}
