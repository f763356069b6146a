/**
 * A reference model of Raft, written from the paper: which step of a node is allowed. `step` is the relation;
 * each other file holds the rules of one concept.
 */
export { checkRestart } from "./durability.ts";
export { isUpToDate } from "./election.ts";
export { logOf } from "./model-log.ts";
export { started, type Input, type ModelSettings, type ModelState, type Seen } from "./model-state.ts";
export { Forbidden } from "./rule.ts";
export { step } from "./step.ts";
