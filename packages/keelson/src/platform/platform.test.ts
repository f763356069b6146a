// Both platforms must compute the same: a record that a node in a browser encodes is read on Node.
import fc from "fast-check";
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import * as node from "./node-platform.ts";
import { NODE_VERSION_MIN, refusalOfNode } from "./node-version.ts";
import * as web from "./web-platform.ts";

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

describe("web-platform", () => {
  it("exports what node-platform exports", () => {
    expect(Object.keys(web).sort()).toEqual(Object.keys(node).sort());
  });

  it("knows the published check values of CRC-32 and SHA-256", () => {
    expect(web.crc32(bytesOf("123456789"))).toBe(0xcb_f4_39_26);
    expect(web.sha256(bytesOf("abc"))).toBe(
      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    );
  });

  it("computes the checksums that Node computes, from any initial value", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(0xff_ff_ff_ff), (bytes, value) => {
        expect(web.crc32(bytes, value)).toBe(node.crc32(bytes, value));
        expect(web.crc32(bytes)).toBe(node.crc32(bytes));
      }),
    );
  });

  it("computes the hashes that Node computes, also around the ends of blocks", () => {
    for (let length = 0; length <= 200; length++) {
      const bytes = Uint8Array.from({ length }, (_, at) => at * 7 + length);
      expect(web.sha256(bytes)).toBe(node.sha256(bytes));
    }
  });

  it("computes the authentication codes that Node computes, with keys of any length", () => {
    const bytes = fc.uint8Array({ maxLength: 150 });
    fc.assert(
      fc.property(bytes, fc.array(bytes, { maxLength: 3 }), (key, parts) => {
        const code = node.hmacSha256(key, ...parts);
        expect([...web.hmacSha256(key, ...parts)]).toEqual([...code]);
        for (const { isEqualInConstantTime } of [node, web]) {
          expect(isEqualInConstantTime(code, code.slice())).toBe(true);
          const other = code.slice();
          other[key.length % 32] = (other[key.length % 32] ?? 0) ^ 1;
          expect(isEqualInConstantTime(code, other)).toBe(false);
          expect(() => isEqualInConstantTime(code, code.subarray(1))).toThrow(RangeError);
        }
      }),
    );
  });

  it.each([node, web])("allocates plain arrays of the length that was asked for", ({ allocateBytes }) => {
    for (const length of [0, 1, 100, 10_000]) {
      const bytes = allocateBytes(length);
      expect(bytes).toHaveLength(length);
      expect(Object.getPrototypeOf(bytes)).toBe(Uint8Array.prototype);
    }
  });
});

describe("refusalOfNode", () => {
  it.each(["22.13.0", "22.13.1", "22.14.0", "23.0.0", "24.21.0", "100.0.0", "23.0.0-nightly", undefined])(
    "lets version %s pass",
    (version) => {
      expect(refusalOfNode("keelson", version)).toBeNull();
    },
  );

  it.each(["22.12.9", "22.2.0", "20.19.4", "18.0.0", "4.9.1"])(
    "refuses version %s in one line",
    (version) => {
      expect(refusalOfNode("keelson", version)).toBe(
        `keelson needs Node 22.13 or later, and this is Node ${version}`,
      );
    },
  );

  it("asks for the version that package.json asks for", () => {
    const manifest = readFileSync(path.join(import.meta.dirname, "../../package.json"), "utf8");
    const { engines } = JSON.parse(manifest) as { engines: { node: string } };
    expect(`${engines.node.replace(">=", "")}.0`).toBe(NODE_VERSION_MIN);
  });
});
