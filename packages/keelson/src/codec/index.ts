// What keelson/codec exports: records, memberships, session entries and frames as bytes.
export type {
  ControlMessage,
  Goodbye,
  Hello,
  Identity,
  Ping,
  Pong,
  Welcome,
} from "./frame-control-message.ts";
export { FrameReader } from "./frame-reader.ts";
export {
  type ForwardedCall,
  type EntriesLost,
  type ForwardReply,
  type ForwardRequest,
  isRuntimeMessage,
  RUNTIME_PAYLOAD_BYTES_MAX,
  type RuntimeMessage,
  type SnapshotChunk,
  type SnapshotEnd,
  type SnapshotGone,
  type SnapshotMessage,
  type SnapshotRequest,
} from "./frame-runtime-message.ts";
export {
  encodeControlMessage,
  type EncodedFrame,
  encodeMessage,
  type Frame,
  FRAME_BYTES_MAX,
  type MessageFrame,
} from "./frame.ts";
export {
  ADDRESS_CHARS_MAX,
  decodeMembership,
  encodeMembership,
  type MemberData,
  type Membership,
  MEMBERS_MAX,
  NODE_ID_PATTERN,
} from "./config.ts";
export {
  type DecodedRecord,
  decodeRecord,
  encodeRecord,
  EntryKind,
  RECORD_BYTES_MAX,
  RECORD_HEADER_BYTES,
  RECORD_PAYLOAD_BYTES_MAX,
  type RecordHeader,
  recordIndex,
  recordKind,
  recordLength,
  recordPayload,
  recordTerm,
} from "./record.ts";
export {
  type CloseSessionEntry,
  decodeCloseSession,
  decodeOpenSession,
  decodeSessionCommand,
  decodeSessionTime,
  encodeCloseSession,
  encodeOpenSession,
  encodeSessionCommand,
  encodeSessionTime,
  type OpenSessionEntry,
  SESSION_COMMAND_HEADER_BYTES,
  type SessionCommandEntry,
  type SessionCommandId,
  type SessionTimeEntry,
} from "./session-entry.ts";
