export { wal, type WalOptions } from "./wal-log.ts";
