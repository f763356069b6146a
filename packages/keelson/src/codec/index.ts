export type { Control, Goodbye, Hello, Identity, Ping, Pong, Welcome } from "./frame-control.ts";
export { FrameReader } from "./frame-reader.ts";
export {
  encodeControl,
  type EncodedFrame,
  encodeMessage,
  type Frame,
  FRAME_BYTES_MAX,
  type MessageFrame,
} from "./frame.ts";
