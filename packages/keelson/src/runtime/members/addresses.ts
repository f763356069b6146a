// What a member's address may look like, wherever a caller gives one.
import { ADDRESS_CHARS_MAX } from "../../codec/config.ts";
import type { NodeId } from "../../core/position.ts";
import { InvalidOptionError } from "../../errors.ts";

/**
 * Checks that `address` can be an address: printable characters without spaces. Which hosts and ports there are only the
 * transport knows.
 *
 * @throws InvalidOptionError
 */
export function checkAddress(id: NodeId, address: string): void {
  if (typeof address === "string" && /^[!-~]+$/.test(address) && address.length <= ADDRESS_CHARS_MAX) return;
  throw new InvalidOptionError(
    `the address of member ${id} is ${JSON.stringify(address)}; it should look like "127.0.0.1:7001"`,
  );
}
