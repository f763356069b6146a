// The entries of an explored group's logs: what stands in for a payload, and configurations as payloads.
import { configOf, type ClusterConfig, type ConfigAt, type NodeId } from "../../../core/index.ts";
import { nameOf, placeOf } from "../shared/bounds.ts";

/**
 * What an entry holds, as a number: above 0 a command, named by the number of its proposal; 0 a new leader's blank
 * entry; below 0 a configuration.
 */
export type Payload = number;

/** The payload of a new leader's first entry. */
export const BLANK: Payload = 0;

/** An entry; its index is its position in the array that holds it, plus 1. */
export interface Entry {
  readonly term: number;
  readonly payload: Payload;
}

/**
 * A configuration's payload is the negative of a bit set: the bits below this one stand for the voters by their
 * places, the bits from this one on for the outgoing voters. So an explored group has at most 5 nodes, and no learners.
 */
const OUTGOING_BIT = 5;

/** The payload that stands for a configuration. */
export function payloadOf({ voters, outgoingVoters }: ClusterConfig): Payload {
  const bits = (ids: readonly NodeId[]): number => ids.reduce((sum, id) => sum + 2 ** placeOf(id), 0);
  return -(bits(voters) + bits(outgoingVoters) * 2 ** OUTGOING_BIT);
}

/** The configuration that a payload stands for; null if it stands for none. */
export function configIn(payload: Payload): ClusterConfig | null {
  if (payload >= 0) return null;
  const named = (bits: number): NodeId[] =>
    Array.from({ length: OUTGOING_BIT }, (_, place) => place)
      .filter((place) => Math.floor(bits / 2 ** place) % 2 === 1)
      .map(nameOf);
  const outgoing = Math.floor(-payload / 2 ** OUTGOING_BIT);
  return { ...configOf(named(-payload)), outgoingVoters: named(outgoing) };
}

/** The configurations in a log, each with its index. */
export function configsIn(log: readonly Entry[]): ConfigAt[] {
  return log.flatMap(({ payload }, at) => {
    const config = configIn(payload);
    return config === null ? [] : [{ index: at + 1, config }];
  });
}

/** An entry in words, for traces. */
export function describeEntry({ term, payload }: Entry): string {
  const config = configIn(payload);
  if (config === null) return `${payload === 0 ? "blank" : `p${payload}`}@${term}`;
  const names = [config.outgoingVoters, config.voters]
    .filter((part) => part.length > 0)
    .map((part) => part.join("+"));
  return `{${names.join(" to ")}}@${term}`;
}

/** A log as text: equal texts mean equal logs. */
export function encodeLog(log: readonly Entry[]): string {
  return log.map(({ term, payload }) => `${term}:${payload}`).join(" ");
}
