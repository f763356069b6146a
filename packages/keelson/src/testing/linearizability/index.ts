export {
  checkLinearizability,
  type CheckOptions,
  type CheckResult,
  type IllegalResult,
  type LinearizableResult,
  type UndecidedResult,
} from "./check.ts";
export type { Explanation, PartOperation } from "./explain.ts";
export { formatHistory, History, parseHistory, type OpenOperation } from "./history.ts";
export {
  keyValueModel,
  type KeyValueInput,
  type KeyValueOutput,
  type KeyValueState,
} from "./key-value-model.ts";
export type { Model, ModelState } from "./model.ts";
export type { DoneOperation, NotDoneOperation, Operation, UnknownOperation } from "./operation.ts";
export {
  registerModel,
  type RegisterInput,
  type RegisterOutput,
  type RegisterValue,
} from "./register-model.ts";
export { toSvg } from "./svg.ts";
