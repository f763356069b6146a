// What keelson/transport/memory exports.
export { memoryNetwork, type MemoryNetwork, memoryTransport, type DeliveryDelays } from "./memory-network.ts";
