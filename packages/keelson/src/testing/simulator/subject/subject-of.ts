/** Makes a subject from a state machine alone: its model is one copy of the same state machine. */
import { InvalidOptionError, Rejection } from "../../../errors.ts";
import type { StateMachine } from "../../../runtime/shared/index.ts";
import {
  codecOf,
  SingleCopy,
  synchronous,
  textOf,
  textOfAnswer,
  textOfBytes,
  textOfResult,
  type CopyCall,
} from "./single-copy.ts";
import type { AnySubject, CallContext, MakeSubject, Subject } from "./subject.ts";

/** A read that a client makes. */
export interface SubjectQuery<Machine> {
  /** What it asks for. Two queries with the same name ask the same. */
  readonly name: string;
  /** Reads the state, synchronously. Returns JSON, which is compared with what the single copy returns. */
  run(machine: Machine): unknown;
}

/** What `subjectOf` makes a subject of. */
export interface SubjectOfOptions<Machine extends StateMachine<Command, unknown>, Command> {
  /**
   * Makes a state machine in memory: for a node that starts, and for the single copy. Its `open` and `apply`
   * must be synchronous. Its results may not depend on the index or the log time of the entry, which the
   * single copy can't know: a state machine with `logTimeStepMs` is refused, and needs a subject of its own.
   */
  stateMachine(): Machine;
  /** Makes up a client's next command. `context.chance` is the only source of randomness that it may use. */
  commands(context: CallContext<Machine>): Command;
  /** Makes up a client's next read. Default: the digest, if there is one. */
  readonly queries?: ((context: CallContext<Machine>) => SubjectQuery<Machine>) | undefined;
  /**
   * The whole state in one line: two states with the same digest must answer all calls in the same way. Nodes
   * that have applied the same entries are compared by it, and the checker of histories is faster with it.
   * Default: none; then the state machine needs `snapshot`, by which nodes are compared.
   */
  readonly digest?: ((machine: Machine) => string) | undefined;
  /** See `Subject.nameOf`. Default: commands have no names. */
  readonly nameOf?: ((command: Command) => string | null) | undefined;
  /** See `Subject.comparesSnapshots`. */
  readonly comparesSnapshots?: boolean | undefined;
}

/**
 * A subject whose sequential model is the state machine itself, run by a single copy. So the simulator checks
 * that the cluster can't be told from one copy of your state machine. It can't check that this copy does what
 * you want: that is for your unit tests.
 *
 * @example
 * ```ts
 * class Counter {
 *   total = 0;
 *   apply({ add }: { add: number }) {
 *     return (this.total += add);
 *   }
 * }
 * const subject = subjectOf({
 *   stateMachine: () => new Counter(),
 *   commands: ({ chance }) => ({ add: chance.whole(1, 5) }),
 *   digest: ({ total }) => String(total),
 * });
 * const { violation } = await simulate(planOf(1), { subject });
 * ```
 */
export function subjectOf<Machine extends StateMachine<Command, unknown>, Command>(
  options: SubjectOfOptions<Machine, Command>,
): MakeSubject {
  return () => makeSubject(options);
}

function makeSubject<Machine extends StateMachine<Command, unknown>, Command>(
  options: SubjectOfOptions<Machine, Command>,
): AnySubject {
  const { digest = null, nameOf, comparesSnapshots = true } = options;
  const sample = options.stateMachine();
  const codec = codecOf(sample);
  const canCompare = digest !== null || (sample.snapshot !== undefined && comparesSnapshots);
  if (!canCompare) {
    throw new InvalidOptionError(
      "subjectOf needs `digest`, or a state machine with `snapshot`: without either, nodes can't be compared",
    );
  }
  if (sample.logTimeStepMs !== undefined) {
    throw new InvalidOptionError(
      "subjectOf can't check a state machine that uses log time (logTimeStepMs), which its single copy can't know: " +
        "write a subject with a model",
    );
  }
  const queries = options.queries ?? (() => queryOf(digest));
  const subject: Subject<Machine, Command, unknown, CopyCall<Machine>, string> = {
    model: new SingleCopy<Machine>({ make: () => options.stateMachine(), digest }).model(),
    machine: () => options.stateMachine(),
    write: (context) => {
      const command = validated(sample, options.commands(context));
      const bytes = codec.encode(command).slice();
      return {
        command,
        input: { type: "command", bytes, text: textOfBytes(bytes) },
        output: (result) => textOfResult(codec, result),
        rejected: (error) => textOfAnswer(error instanceof Rejection ? error : undefined),
      };
    },
    read: (context) => {
      const query = queries(context);
      return {
        input: { type: "query", name: query.name, run: (machine) => query.run(machine) },
        // As text at once: the result may be a part of the state, which goes on changing.
        query: (machine) => textOf(synchronous(query.run(machine), "a query")),
      };
    },
    describe: (command) => textOfBytes(codec.encode(command)),
    nameOf: (command) => nameOf?.(command) ?? null,
    digest: (machine) => digest?.(machine) ?? "",
    comparesSnapshots,
  };
  return subject;
}

/** What is read where the user names no queries. */
function queryOf<Machine>(digest: ((machine: Machine) => string) | null): SubjectQuery<Machine> {
  return digest === null ? { name: "nothing", run: () => null } : { name: "digest", run: digest };
}

/** The command as `schema` returns it, which is what the nodes apply. */
function validated<Command>({ schema }: StateMachine<Command, unknown>, command: Command): Command {
  if (schema === undefined) return command;
  const result = synchronous(schema["~standard"].validate(command), "`schema`");
  if (result.issues !== undefined) {
    const [{ message } = { message: "no reason" }] = result.issues;
    throw new InvalidOptionError(`\`commands\` made up a command that \`schema\` refuses: ${message}`);
  }
  return result.value;
}
