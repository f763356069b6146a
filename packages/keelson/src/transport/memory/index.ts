export { memoryNetwork, type MemoryNetwork, memoryTransport, type DeliveryDelays } from "./memory-network.ts";
