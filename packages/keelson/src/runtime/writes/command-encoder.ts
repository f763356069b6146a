// Makes the bytes of a command, and refuses a command that must not come into the log.
import { checkBytes } from "../../codec/copy-bytes.ts";
import type { Environment } from "../../environment/environment.ts";
import {
  AbortedError,
  CommandInvalidError,
  CommandTooLargeError,
  OverloadedError,
  type CommandIssue,
} from "../../errors.ts";
import {
  causeOf,
  describeCancellation,
  type Call,
  type CallEndings,
  type CallOptions,
  type CallRegistry,
} from "../calls/index.ts";
import {
  isPromiseLike,
  reasonOf,
  type CommandCodec,
  type RaftLimits,
  type SchemaIssue,
  type SchemaResult,
  type StandardSchema,
} from "../shared/index.ts";

export interface CommandEncoderParts<Command> {
  readonly codec: CommandCodec<Command>;
  /** undefined: commands are not validated. */
  readonly schema: StandardSchema<Command> | undefined;
  /** `commandBytesMax`; and `pendingEntriesMax`, which limits the validations under way too. */
  readonly limits: RaftLimits;
  readonly calls: CallRegistry;
  readonly environment: Environment;
}

/**
 * Validates commands, encodes them, and checks the bytes. All that it throws means that nothing was proposed.
 *
 * A command that one node can encode and another can't decode would stop every node that applies it, again
 * after each restart (Z12). So the bytes are decoded once before they are proposed. That holds for a command
 * from another node too, which may run another version of the program.
 */
export class CommandEncoder<Command> {
  readonly #parts: CommandEncoderParts<Command>;
  /** Asynchronous validations that have not ended. */
  #validating = 0;

  constructor(parts: CommandEncoderParts<Command>) {
    this.#parts = parts;
  }

  /**
   * Validates and encodes a command, and passes its bytes to `use`, with the options for the rest of the
   * call: an asynchronous validation takes its time from the call's time limit. `use` must copy the bytes if
   * it keeps them after it has returned: the codec may encode the next command into the same buffer.
   */
  encode<T, Options extends CallOptions>(
    command: Command,
    options: Options,
    use: (bytes: Uint8Array, rest: Options) => Promise<T>,
  ): Promise<T> {
    const { schema, environment } = this.#parts;
    if (schema === undefined) return use(this.#encode(command), options);
    const result = resultOf(schema, command);
    if (!isPromiseLike(result)) return use(this.#encode(acceptedValue(result)), options);
    const call = this.#beginValidation(options);
    void this.#settleLater(call, result);
    return call.promise.then((value) =>
      use(this.#encode(value), { ...options, timeoutMs: Math.max(0, call.deadline - environment.now()) }),
    );
  }

  /** Checks an encoded command. @throws CommandTooLargeError, CommandInvalidError */
  check(bytes: Uint8Array): void {
    const { codec, limits } = this.#parts;
    if (bytes.length > limits.commandBytesMax) {
      throw new CommandTooLargeError(bytes.length, limits.commandBytesMax);
    }
    try {
      codec.decode(bytes);
    } catch (error) {
      throw new CommandInvalidError(
        [{ path: [], message: `its bytes can't be decoded: ${reasonOf(error)}` }],
        { cause: error },
      );
    }
  }

  #encode(command: Command): Uint8Array {
    const bytes = this.#parts.codec.encode(command);
    // Refused before the core takes an entry: a throw after that would stop the node (Z12).
    checkBytes(bytes, "what encode returns");
    this.check(bytes);
    return bytes;
  }

  /** The call ends by its time limit, its signal or the end of the node, if the validation doesn't end. */
  #beginValidation(options: CallOptions): Call<Command> {
    const { limits, calls } = this.#parts;
    if (this.#validating >= limits.pendingEntriesMax) {
      throw new OverloadedError(
        `${String(this.#validating)} commands are being validated already (limits.pendingEntriesMax); wait for some to finish`,
      );
    }
    return calls.begin<Command>("validation", options, VALIDATION_ENDINGS);
  }

  /** A validation that never ends counts towards the limit for good, as it may hold its command for good. */
  async #settleLater(call: Call<Command>, validation: PromiseLike<SchemaResult<Command>>): Promise<void> {
    this.#validating += 1;
    try {
      call.resolve(acceptedValue(await validation));
    } catch (error) {
      call.reject(schemaError(error));
    } finally {
      this.#validating -= 1;
    }
  }
}

const VALIDATION_ENDINGS: CallEndings = {
  onCancel: (cancellation) =>
    new AbortedError(
      "not-done",
      `${describeCancellation(cancellation)}; stateMachine.schema had not validated the command yet`,
      causeOf(cancellation),
    ),
};

function resultOf<Command>(
  schema: StandardSchema<Command>,
  command: Command,
): SchemaResult<Command> | PromiseLike<SchemaResult<Command>> {
  try {
    return schema["~standard"].validate(command);
  } catch (error) {
    throw schemaError(error);
  }
}

/** The value that the schema lets pass, which it may have converted. @throws CommandInvalidError */
function acceptedValue<Command>(result: SchemaResult<Command>): Command {
  if (typeof result !== "object" || (result as unknown) === null) {
    throw schemaError(new TypeError("validate returned no result"));
  }
  if (result.issues === undefined) return result.value;
  const issues = Array.from(result.issues, commandIssueOf);
  throw new CommandInvalidError(issues.length === 0 ? [NO_REASON] : issues);
}

function commandIssueOf({ message, path = [] }: SchemaIssue): CommandIssue {
  const keys = path.map((segment) => (typeof segment === "object" ? segment.key : segment));
  return { message, path: keys.map((key) => (typeof key === "symbol" ? String(key) : key)) };
}

const NO_REASON: CommandIssue = { path: [], message: "stateMachine.schema refuses it without a reason" };

/** The schema itself failed. Whether the command is valid isn't known, so it isn't proposed. */
function schemaError(thrown: unknown): CommandInvalidError {
  if (thrown instanceof CommandInvalidError) return thrown;
  const message = `stateMachine.schema failed: ${reasonOf(thrown)}`;
  return new CommandInvalidError([{ path: [], message }], { cause: thrown });
}
