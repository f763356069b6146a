// What a member's address may look like, wherever a caller gives one.
import { ADDRESS_CHARS_MAX } from "../../codec/config.ts";
import type { NodeId } from "../../core/position.ts";
import { isDialable } from "../../environment/address.ts";
import { InvalidOptionError } from "../../errors.ts";

/**
 * Checks that `address` can be an address that other nodes dial: printable characters without spaces, and
 * neither a wildcard host nor port 0, which would be dialled in vain and show only as an unreachable member.
 * Which hosts and ports there are only the transport knows.
 *
 * @throws InvalidOptionError
 */
export function checkAddress(id: NodeId, address: string): void {
  if (typeof address === "string" && /^[!-~]+$/.test(address) && address.length <= ADDRESS_CHARS_MAX) {
    if (isDialable(address)) return;
    throw new InvalidOptionError(
      `the address of member ${id} is ${JSON.stringify(address)}, which other nodes can't dial; it should have this ` +
        'machine\'s name or address and a port, such as "10.0.0.1:7001"',
    );
  }
  throw new InvalidOptionError(
    `the address of member ${id} is ${JSON.stringify(address)}; it should look like "127.0.0.1:7001"`,
  );
}
