/**
 * The model's log (§5.3): for each entry its term, and its configuration if it holds one. A value that is
 * never changed: each operation returns another log. Entries up to `base` are covered by a snapshot (§7).
 */
import type { ClusterConfig } from "../../core/config.ts";
import type { LogView } from "../../core/log.ts";
import type { ConfigAt, EntryRange, TermRun } from "../../core/message.ts";
import type { LogIndex, LogPosition, NodeId, Term } from "../../core/position.ts";
import { sameConfig, showConfig } from "./quorum.ts";
import { rule } from "./rule.ts";

export interface ModelLog {
  readonly base: LogPosition;
  /** The configuration in force at `base`. */
  readonly baseConfig: ConfigAt;
  /** Consecutive entries of one term, in order; the first run begins right after `base`. */
  readonly runs: readonly TermRun[];
  /** The configuration entries, in order. */
  readonly configs: readonly ConfigAt[];
  readonly lastIndex: LogIndex;
}

/** A log that may follow another one. */
export interface NextLog {
  readonly log: ModelLog;
  /**
   * Up to this index, it holds the same entries as the log before it. If nothing was removed, that log's last
   * index.
   */
  readonly kept: LogIndex;
}

/** A copy of a core's log. */
export function logOf(view: LogView): ModelLog {
  const { base, last } = view;
  const { terms, configs } = view.slice(base.index, last.index);
  return { base, baseConfig: view.configAt(base.index), runs: terms, configs, lastIndex: last.index };
}

/** The log that begins, without entries, after a snapshot. */
export function logAfter(base: LogPosition, config: ClusterConfig): ModelLog {
  return {
    base,
    baseConfig: { index: base.index, config },
    runs: [],
    configs: [],
    lastIndex: base.index,
  };
}

export function lastOf(log: ModelLog): LogPosition {
  const run = log.runs.at(-1);
  return run === undefined ? log.base : { index: log.lastIndex, term: run.term };
}

/** The term of an entry or of the base; undefined: the log doesn't hold it. */
export function termAt(log: ModelLog, index: LogIndex): Term | undefined {
  if (index === log.base.index) return log.base.term;
  if (index < log.base.index || index > log.lastIndex) return undefined;
  return log.runs.findLast((run) => run.index <= index)?.term;
}

export function contains(log: ModelLog, { index, term }: LogPosition): boolean {
  return termAt(log, index) === term;
}

/** The latest configuration at or before an index: in force as soon as it is in the log (§6). */
export function configAt(log: ModelLog, index: LogIndex): ConfigAt {
  return log.configs.findLast((at) => at.index <= index) ?? log.baseConfig;
}

/** The configuration in force. */
export function configOf(log: ModelLog): ClusterConfig {
  return (log.configs.at(-1) ?? log.baseConfig).config;
}

/**
 * Whether this node is the only voter, and was it in the configuration before the one in force too: then
 * nobody else can lead, or still serve reads under a lease.
 */
export function votesAlone(log: ModelLog, id: NodeId): boolean {
  const { index, config } = configAt(log, log.lastIndex);
  const before = index <= log.base.index ? config : configAt(log, index - 1).config;
  const voters = [config, before].flatMap((one) => [...one.voters, ...one.outgoingVoters]);
  return config.voters.includes(id) && voters.every((voter) => voter === id);
}

/** Appends `count` entries of a term. */
export function withEntries(log: ModelLog, term: Term, count: number): ModelLog {
  const isSameTerm = log.runs.at(-1)?.term === term;
  const runs = isSameTerm || count === 0 ? log.runs : [...log.runs, { index: log.lastIndex + 1, term }];
  return { ...log, runs, lastIndex: log.lastIndex + count };
}

/** Appends a configuration entry. */
export function withConfig(log: ModelLog, term: Term, config: ClusterConfig): ModelLog {
  const longer = withEntries(log, term, 1);
  return { ...longer, configs: [...log.configs, { index: longer.lastIndex, config }] };
}

/** The log up to `lastIndex`. */
export function prefix(log: ModelLog, lastIndex: LogIndex): ModelLog {
  if (lastIndex >= log.lastIndex) return log;
  return {
    ...log,
    runs: log.runs.filter(({ index }) => index <= lastIndex),
    configs: log.configs.filter(({ index }) => index <= lastIndex),
    lastIndex,
  };
}

/** The log without the entries up to `index`, which a snapshot covers. */
export function suffix(log: ModelLog, index: LogIndex): ModelLog {
  const term = termAt(log, index);
  if (index <= log.base.index || term === undefined) return log;
  const runs = log.runs.flatMap((run, at) => {
    const end = log.runs[at + 1]?.index ?? log.lastIndex + 1;
    if (end <= index + 1) return [];
    return [run.index > index ? run : { index: index + 1, term: run.term }];
  });
  const configs = log.configs.filter((at) => at.index > index);
  return { ...log, base: { index, term }, baseConfig: configAt(log, index), runs, configs };
}

/**
 * The log after the receiver has appended the entries of a message (Figure 2, AppendEntries 3 and 4): the
 * first entry that conflicts and all that follow it are removed, and the entries that are missing are
 * appended. Entries that the log holds already stay, and so do those after them. null: the log doesn't hold
 * the entry before the first one (Figure 2, AppendEntries 2).
 */
export function accepting(log: ModelLog, { prev, lastIndex, terms, configs }: EntryRange): NextLog | null {
  // A snapshot covers committed entries only, and the leader's log holds all of them (Leader Completeness).
  const isCovered = prev.index < log.base.index;
  if (!isCovered && !contains(log, prev)) return null;
  let index = Math.max(prev.index, log.base.index) + 1;
  const termOf = (at: LogIndex): Term | undefined => terms.findLast((run) => run.index <= at)?.term;
  while (index <= lastIndex && index <= log.lastIndex && termAt(log, index) === termOf(index)) index += 1;
  if (index > lastIndex) return { log, kept: log.lastIndex };
  const kept = prefix(log, index - 1);
  const added = terms.flatMap((run, at) => {
    const end = terms[at + 1]?.index ?? lastIndex + 1;
    return end <= index ? [] : [{ index: Math.max(run.index, index), term: run.term }];
  });
  const [first, ...others] = added;
  const joined = first !== undefined && kept.runs.at(-1)?.term === first.term ? others : added;
  const longer = {
    ...kept,
    runs: [...kept.runs, ...joined],
    configs: [...kept.configs, ...configs.filter((at) => at.index >= index)],
    lastIndex,
  };
  return { log: longer, kept: index - 1 };
}

/** The entries `(prevIndex, lastIndex]` as a message names them; null: the log doesn't hold all of them. */
export function rangeOf(log: ModelLog, prevIndex: LogIndex, lastIndex: LogIndex): EntryRange | null {
  const term = termAt(log, prevIndex);
  if (term === undefined || lastIndex > log.lastIndex || lastIndex < prevIndex) return null;
  const { runs, configs } = suffix(prefix(log, lastIndex), prevIndex);
  return { prev: { index: prevIndex, term }, lastIndex, terms: runs, configs };
}

export function sameRange(a: EntryRange, b: EntryRange): boolean {
  return (
    a.prev.index === b.prev.index &&
    a.prev.term === b.prev.term &&
    a.lastIndex === b.lastIndex &&
    sameRuns(a.terms, b.terms) &&
    sameConfigs(a.configs, b.configs)
  );
}

/** Checks that the core's log is this one. */
export function checkSameLog(log: ModelLog, view: LogView): void {
  const seen = logOf(view);
  rule(
    seen.base.index === log.base.index &&
      seen.base.term === log.base.term &&
      seen.lastIndex === log.lastIndex &&
      sameRuns(seen.runs, log.runs) &&
      sameConfigs(seen.configs, log.configs) &&
      sameConfig(seen.baseConfig.config, log.baseConfig.config),
    () => `the log is ${showLog(seen)}; allowed is ${showLog(log)}`,
  );
}

function sameRuns(a: readonly TermRun[], b: readonly TermRun[]): boolean {
  return a.length === b.length && a.every((run, at) => run.index === b[at]?.index && run.term === b[at].term);
}

function sameConfigs(a: readonly ConfigAt[], b: readonly ConfigAt[]): boolean {
  return (
    a.length === b.length &&
    a.every((one, at) => {
      const other = b[at];
      return other !== undefined && one.index === other.index && sameConfig(one.config, other.config);
    })
  );
}

/** A log for the text of a violation. */
export function showLog({ base, runs, configs, lastIndex }: ModelLog): string {
  const places = runs.map(({ index, term }) => `${String(index)}@${String(term)}`).join(" ");
  const at = configs.map(({ index, config }) => `${String(index)}${showConfig(config)}`).join(" ");
  return `(${String(base.index)}@${String(base.term)}, ${String(lastIndex)}] runs ${places} configurations ${at}`;
}
