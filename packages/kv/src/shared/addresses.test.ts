import { describe, expect, it } from "vitest";
import {
  clientAddressesOf,
  decodeClientAddresses,
  encodeClientAddresses,
  formatAddress,
  parseAddress,
} from "./addresses.ts";

describe("an address", () => {
  it.each([
    ["127.0.0.1:8001", { host: "127.0.0.1", port: 8001 }],
    ["localhost:0", { host: "localhost", port: 0 }],
    ["node-1.example.com:65535", { host: "node-1.example.com", port: 65535 }],
    ["[::1]:80", { host: "::1", port: 80 }],
  ])("%s is parsed and formatted back", (text, address) => {
    expect(parseAddress(text)).toEqual(address);
    expect(formatAddress(address)).toBe(text);
  });

  it.each([
    "",
    "8001",
    ":8001",
    "host",
    "host:",
    "host:65536",
    "host:-1",
    "host:1x",
    "a b:1",
    "::1:80",
    "h/x:1",
    "h\r\nx:1",
    `${"h".repeat(256)}:8001`,
  ])("%j is refused", (text) => {
    expect(parseAddress(text)).toBeNull();
  });
});

describe("the client addresses that a node tells others", () => {
  const addresses = { line: "127.0.0.1:8001", http: "127.0.0.1:9001" };

  it("are decoded as they were encoded, without fields that a later version may add", () => {
    expect(decodeClientAddresses(encodeClientAddresses(addresses))).toEqual(addresses);
    expect(decodeClientAddresses(JSON.stringify({ ...addresses, grpc: 1 }))).toEqual(addresses);
    expect(clientAddressesOf({ id: "n1", address: null, info: encodeClientAddresses(addresses) })).toEqual(
      addresses,
    );
  });

  it.each([
    null,
    "",
    "{",
    "null",
    "[]",
    '{"line":"127.0.0.1:8001"}',
    '{"line":1,"http":"127.0.0.1:9001"}',
    // It would go into a header of an answer.
    '{"line":"127.0.0.1:8001","http":"evil.example\\r\\nSet-Cookie: a:1"}',
    '{"line":"127.0.0.1:8001","http":"user@evil.example/x:1"}',
  ])("are rejected if the info is %j", (info) => {
    expect(decodeClientAddresses(info)).toBeNull();
    expect(clientAddressesOf(info === null ? null : { id: "n1", address: null, info })).toBeNull();
  });
});
