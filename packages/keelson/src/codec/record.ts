/**
 * A log entry as bytes: built once by the node that proposes it, and from then on the same bytes on
 * the leader's disk, on every socket and on every follower's disk, under one checksum.
 *
 * | offset | bytes | what |
 * |---|---|---|
 * | 0 | 4 | length of the whole record in bytes, header included |
 * | 4 | 4 | CRC-32 of everything after this field, and of the length before it |
 * | 8 | 8 | index |
 * | 16 | 8 | term |
 * | 24 | 1 | kind |
 * | 25 | 3 | zero, for later |
 * | 28 | ... | payload |
 *
 * All numbers are unsigned and little-endian; index and term are below 2^53.
 */
export const RECORD_HEADER_BYTES = 28;

/** What an entry's payload means. An unknown kind stops the node: skipping it would fork the state. */
export const EntryKind = {
  /** A command for the state machine. */
  command: 1,
  /** Nothing: what a new leader commits first (§8). */
  blank: 2,
  /** A cluster configuration (codec/config.ts). */
  config: 3,
} as const;
export type EntryKind = (typeof EntryKind)[keyof typeof EntryKind];
