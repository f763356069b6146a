import { describe, expect, it } from "vitest";
import { formatAddress, isDialable, isWildcardHost, parseAddress } from "./address.ts";

describe("parseAddress", () => {
  it.each([
    ["127.0.0.1:7001", "127.0.0.1", 7001],
    ["db-1.example:0", "db-1.example", 0],
    ["[::1]:65535", "::1", 65535],
    ["[fe80::1%eth0]:80", "fe80::1%eth0", 80],
  ])("takes %s apart, and formatAddress puts it together again", (address, host, port) => {
    expect(parseAddress(address)).toEqual({ host, port });
    expect(formatAddress({ host, port })).toBe(address);
  });

  it.each([
    "",
    "7001",
    ":7001",
    "host",
    "host:",
    "host:x",
    "host:-1",
    "::1:7001",
    "[::1]",
    "a b:1",
    "host:65536",
    "h:123456",
  ])("refuses %j and says what it should look like", (address) => {
    expect(() => parseAddress(address, "listen")).toThrow(/^listen is /);
  });
});

describe("isWildcardHost", () => {
  it("is true for the hosts that mean all interfaces", () => {
    expect(["0.0.0.0", "::", "0::0", "0:0:0:0:0:0:0:0"].map(isWildcardHost)).toEqual([
      true,
      true,
      true,
      true,
    ]);
    expect(["0", "0.0", "::ffff:0.0.0.0"].map(isWildcardHost)).toEqual([true, true, true]);
    expect(["127.0.0.1", "::1", "localhost", "10.0.0.0"].map(isWildcardHost)).toEqual([
      false,
      false,
      false,
      false,
    ]);
  });
});

describe("isDialable", () => {
  it.each([
    "0.0.0.0:7001",
    "[::]:7001",
    "[0:0::0]:7001",
    "[::ffff:0.0.0.0]:7001",
    "h:0",
    "h:00000",
    "[::1]:0",
  ])("is false for %s", (address) => {
    expect(isDialable(address)).toBe(false);
  });

  it.each(["127.0.0.1:7001", "[::1]:7001", "a:1", "a", "raft-0.raft:7001", "0", "10.0.0.0:10"])(
    "is true for %s",
    (address) => {
      expect(isDialable(address)).toBe(true);
    },
  );
});
