/** A subject and its state machines, with the real clocks and random numbers trapped in each call. */
import { jsonCodec, type StateMachine, type StateMachineCodec } from "../../../runtime/shared/index.ts";
import type { DeterminismTrap } from "./determinism-trap.ts";
import type { AnySubject } from "../subject/subject.ts";

type AnyMachine = StateMachine<unknown, unknown>;

/** The same subject. Its state machines stay as they are, so that queries can use them. */
export function guardedSubject(subject: AnySubject, trap: DeterminismTrap): AnySubject {
  return {
    model: subject.model,
    machine: (host) => trap.inSubject("machine", () => subject.machine(host)),
    write: (context) => trap.inSubject("write", () => subject.write(context)),
    read: (context) => {
      const read = trap.inSubject("read", () => subject.read(context));
      return { input: read.input, query: (machine) => trap.inMachine("query", () => read.query(machine)) };
    },
    describe: (command) => subject.describe(command),
    nameOf: (command) => subject.nameOf?.(command) ?? null,
    forget: (id) => subject.forget?.(id),
    digest: (machine) => trap.inSubject("digest", () => subject.digest(machine)),
    comparesSnapshots: subject.comparesSnapshots,
  };
}

/**
 * The same state machine, as its node is to call it. `schema` and `codec.encode` are left alone: they run
 * once, on the node that is called, before anything is proposed, so they may give a command its time and its
 * random numbers.
 */
export function guardedMachine(machine: AnyMachine, trap: DeterminismTrap): AnyMachine {
  const guarded: AnyMachine = {
    codec: guardedCodec(machine.codec ?? jsonCodec(), trap),
    schema: machine.schema,
    logTimeStepMs: machine.logTimeStepMs,
    apply: (command, at) => trap.inMachine("apply", () => machine.apply(command, at)),
  };
  if (machine.open !== undefined) {
    const open = machine.open.bind(machine);
    guarded.open = (identity, host) => trap.inMachine("open", () => open(identity, host));
  }
  if (machine.flush !== undefined) {
    const flush = machine.flush.bind(machine);
    guarded.flush = (applied, sessions) => trap.inMachine("flush", () => flush(applied, sessions));
  }
  if (machine.snapshot !== undefined) {
    const snapshot = machine.snapshot.bind(machine);
    guarded.snapshot = () => trap.iterationInMachine("snapshot", trap.inMachine("snapshot", snapshot));
  }
  if (machine.restore !== undefined) {
    const restore = machine.restore.bind(machine);
    guarded.restore = (state, at, sessions) => trap.inMachine("restore", () => restore(state, at, sessions));
  }
  if (machine.close !== undefined) {
    const close = machine.close.bind(machine);
    guarded.close = () => trap.inMachine("close", close);
  }
  return guarded;
}

type AnyCodec = StateMachineCodec<unknown, unknown>;

function guardedCodec(codec: AnyCodec, trap: DeterminismTrap): AnyCodec {
  const guarded: AnyCodec = {
    encode: (command) => codec.encode(command),
    decode: (bytes) => trap.inMachine("codec.decode", () => codec.decode(bytes)),
  };
  if (codec.encodeResult !== undefined) {
    const encodeResult = codec.encodeResult.bind(codec);
    guarded.encodeResult = (result) => trap.inMachine("codec.encodeResult", () => encodeResult(result));
  }
  if (codec.decodeResult !== undefined) {
    const decodeResult = codec.decodeResult.bind(codec);
    guarded.decodeResult = (bytes) => trap.inMachine("codec.decodeResult", () => decodeResult(bytes));
  }
  return guarded;
}
