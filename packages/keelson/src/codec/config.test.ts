import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DecodeError } from "../errors.ts";
import { decodeMembership, encodeMembership, MEMBERS_MAX, type Membership } from "./config.ts";

const nodeId = fc.stringMatching(/^[A-Za-z0-9._-]{1,12}$/);
const anyMembership = fc
  .uniqueArray(fc.tuple(nodeId, fc.constantFrom("voter", "outgoing", "both", "learner")), {
    selector: ([id]) => id,
    maxLength: 9,
  })
  .map((members) => {
    const which = (...roles: string[]): string[] =>
      members.filter(([, role]) => roles.includes(role)).map(([id]) => id);
    return {
      config: {
        voters: which("voter", "both"),
        outgoingVoters: which("outgoing", "both"),
        learners: which("learner"),
      },
      members: new Map(members.map(([id]) => [id, { address: `${id}:7001` }])),
    };
  })
  .filter(({ config }) => config.voters.length > 0);

const THREE: Membership = {
  config: { voters: ["a", "b", "c"], outgoingVoters: [], learners: [] },
  members: new Map(["a", "b", "c"].map((id) => [id, { address: `${id}:1` }])),
};

function sorted(membership: Membership): unknown {
  const { voters, outgoingVoters, learners } = membership.config;
  return [voters, outgoingVoters, learners, [...membership.members]].map((list) => [...list].sort());
}

describe("the encoding of a membership", () => {
  it("decodes to what was encoded", () => {
    fc.assert(
      fc.property(anyMembership, (membership) => {
        expect(sorted(decodeMembership(encodeMembership(membership)))).toEqual(sorted(membership));
      }),
    );
  });

  it("gives the same bytes for any order of its parts", () => {
    fc.assert(
      fc.property(anyMembership, (membership) => {
        const { voters, outgoingVoters, learners } = membership.config;
        const reversed = {
          config: {
            voters: [...voters].reverse(),
            outgoingVoters: [...outgoingVoters].reverse(),
            learners: [...learners].reverse(),
          },
          members: new Map([...membership.members].reverse()),
        };
        expect(encodeMembership(reversed)).toEqual(encodeMembership(membership));
      }),
    );
  });

  it("stays as it is in existing logs", () => {
    expect(Buffer.from(encodeMembership(THREE)).toString()).toBe(
      '{"version":1,"voters":["a","b","c"],"outgoing":[],"learners":[],"members":[["a","a:1"],["b","b:1"],["c","c:1"]]}',
    );
  });

  it("is canonical: a changed byte is refused, or gives another membership", () => {
    const good = encodeMembership(THREE);
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const bytes = Uint8Array.from(good);
        bytes[at]! ^= change;
        let decoded: Membership;
        try {
          decoded = decodeMembership(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(DecodeError);
          return;
        }
        expect(encodeMembership(decoded)).toEqual(bytes);
        expect(sorted(decoded)).not.toEqual(sorted(THREE));
      }),
      { numRuns: 500 },
    );
  });

  it("refuses random bytes and random JSON", () => {
    const refused = (bytes: Uint8Array): void => {
      expect(() => decodeMembership(bytes)).toThrow(DecodeError);
    };
    fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), refused));
    fc.assert(
      fc.property(fc.json(), (text) => {
        refused(Buffer.from(text));
      }),
    );
    const odd = fc.record({
      version: fc.constant(1),
      voters: fc.jsonValue(),
      outgoing: fc.jsonValue(),
      learners: fc.jsonValue(),
      members: fc.jsonValue(),
    });
    fc.assert(
      fc.property(odd, (value) => {
        refused(Buffer.from(JSON.stringify(value)));
      }),
    );
  });

  it.each([
    ["spaces", '{ "version":1,"voters":["a"],"outgoing":[],"learners":[],"members":[["a","x"]]}'],
    [
      "an unknown field",
      '{"version":1,"voters":["a"],"outgoing":[],"learners":[],"members":[["a","x"]],"more":1}',
    ],
    ["another version", '{"version":2,"voters":["a"],"outgoing":[],"learners":[],"members":[["a","x"]]}'],
    ["no voters", '{"version":1,"voters":[],"outgoing":[],"learners":["a"],"members":[["a","x"]]}'],
    ["a voter twice", '{"version":1,"voters":["a","a"],"outgoing":[],"learners":[],"members":[["a","x"]]}'],
    [
      "voters out of order",
      '{"version":1,"voters":["b","a"],"outgoing":[],"learners":[],"members":[["a","x"],["b","x"]]}',
    ],
    [
      "a learner that is a voter",
      '{"version":1,"voters":["a"],"outgoing":[],"learners":["a"],"members":[["a","x"]]}',
    ],
    [
      "a member without an address",
      '{"version":1,"voters":["a","b"],"outgoing":[],"learners":[],"members":[["a","x"]]}',
    ],
    ["an empty address", '{"version":1,"voters":["a"],"outgoing":[],"learners":[],"members":[["a",""]]}'],
    [
      "the address of a node that is not a member",
      '{"version":1,"voters":["a"],"outgoing":[],"learners":[],"members":[["a","x"],["b","x"]]}',
    ],
    ["an invalid id", '{"version":1,"voters":["a b"],"outgoing":[],"learners":[],"members":[["a b","x"]]}'],
  ])("is refused with %s", (_what, text) => {
    expect(() => decodeMembership(Buffer.from(text))).toThrow(DecodeError);
  });

  it("fails an assertion for a membership that cannot be decoded", () => {
    const with_ = (change: Partial<Membership["config"]>): Membership => ({
      ...THREE,
      config: { ...THREE.config, ...change },
    });
    expect(() => encodeMembership(with_({ voters: [] }))).toThrow(/no voters/);
    expect(() => encodeMembership(with_({ learners: ["a"] }))).toThrow(/both a voter and a learner/);
    expect(() => encodeMembership(with_({ voters: ["a", "b"] }))).toThrow(/addresses/);
    const many = Array.from({ length: MEMBERS_MAX + 1 }, (_, at) => `n${String(at)}`);
    const members = new Map(many.map((id) => [id, { address: "x" }]));
    expect(() =>
      encodeMembership({ config: { voters: many, outgoingVoters: [], learners: [] }, members }),
    ).toThrow(/256/);
  });
});
