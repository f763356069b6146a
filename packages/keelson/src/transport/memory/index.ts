export { memoryNetwork, type MemoryNetwork, memoryTransport, type Route } from "./memory-network.ts";
