import { InvalidOptionError } from "../errors.ts";

/** Where a node listens or is reached: "host:port", or "[v6]:port". */
export interface HostPort {
  readonly host: string;
  readonly port: number;
}

const PORT_MAX = 65_535;

/** Takes an address apart; `InvalidOptionError` names `what` and says what is wrong. */
export function parseAddress(address: string, what = "address"): HostPort {
  const bracketed = /^\[([0-9a-fA-F:.%\w]+)\]:(\d{1,5})$/.exec(address);
  const plain = /^([^:\s[\]]+):(\d{1,5})$/.exec(address);
  const [, host, digits] = bracketed ?? plain ?? [];
  if (host === undefined || digits === undefined) {
    throw new InvalidOptionError(
      `${what} is ${JSON.stringify(address)}; it should look like "127.0.0.1:7001", "db1.example:7001" or "[::1]:7001"`,
    );
  }
  const port = Number(digits);
  if (port > PORT_MAX) {
    throw new InvalidOptionError(
      `${what} is ${JSON.stringify(address)}; a port is at most ${String(PORT_MAX)}`,
    );
  }
  return { host, port };
}

/** The inverse of `parseAddress`. */
export function formatAddress({ host, port }: HostPort): string {
  return host.includes(":") ? `[${host}]:${String(port)}` : `${host}:${String(port)}`;
}

/** Whether the host means "every interface of this machine", which nobody else can dial. */
export function isWildcardHost(host: string): boolean {
  return host === "0.0.0.0" || /^[0:]*:[0:]*$/.test(host);
}
