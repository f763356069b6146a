// What other layers import from the environment.
export { formatAddress, isWildcardHost, parseAddress, type HostPort } from "./address.ts";
export type * from "./environment.ts";
export { nodeEnvironment } from "./node/node-environment.ts";
