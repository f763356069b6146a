// What keelson/transport/tcp exports.
export type { TcpLimits } from "./tcp-limits.ts";
export { tcp, type TcpOptions } from "./tcp-transport.ts";
