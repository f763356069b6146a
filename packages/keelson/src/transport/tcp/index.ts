export type { TcpLimits } from "./limits.ts";
export { tcp, type TcpOptions } from "./tcp-transport.ts";
