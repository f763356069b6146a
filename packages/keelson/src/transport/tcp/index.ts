// What keelson/transport/tcp exports.
export type { FileOr } from "./credential-files.ts";
export type { Identify } from "./certificate-names.ts";
export type { PeerSecret, PeerSecurityOptions, PeerTls } from "./peer-security.ts";
export type { TcpLimits } from "./tcp-limits.ts";
export { tcp, type TcpOptions } from "./tcp-transport.ts";
