// The entries of an explored group's logs: what stands in for a payload, and configurations as payloads.
import type { ClusterConfig, ConfigAt, NodeId } from "../../../core/index.ts";
import { nameOf, placeOf } from "../shared/bounds.ts";

/**
 * What an entry holds, as a number: above 0 a command, named by the number of its proposal; 0 a new leader's
 * blank entry; below 0 a configuration.
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
 * A configuration's payload is the negative of a bit set, with this many bits for the voters by their places,
 * then as many for the outgoing voters, then as many for the learners. So an explored group has at most 5
 * nodes.
 */
const PART_BITS = 5;

/** The payload that stands for a configuration. */
export function payloadOf({ voters, outgoingVoters, learners }: ClusterConfig): Payload {
  return -[voters, outgoingVoters, learners]
    .flatMap((part, at) => part.map((id) => 2 ** (at * PART_BITS + placeOf(id))))
    .reduce((sum, bit) => sum + bit, 0);
}

/** The configuration that a payload stands for; null if it stands for none. */
export function configIn(payload: Payload): ClusterConfig | null {
  if (payload >= 0) return null;
  const part = (at: number): NodeId[] =>
    Array.from({ length: PART_BITS }, (_, place) => place)
      .filter((place) => ((-payload >> (at * PART_BITS + place)) & 1) === 1)
      .map(nameOf);
  return { voters: part(0), outgoingVoters: part(1), learners: part(2) };
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
  const learners = config.learners.length === 0 ? "" : `, learners ${config.learners.join("+")}`;
  return `{${names.join(" to ")}${learners}}@${term}`;
}

/** A log as text: equal texts mean equal logs. */
export function encodeLog(log: readonly Entry[]): string {
  return log.map(({ term, payload }) => `${term}:${payload}`).join(" ");
}
