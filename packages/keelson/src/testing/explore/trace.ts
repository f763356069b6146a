import type { NodeId } from "../../core/index.ts";
import { namesOf } from "./shared/bounds.ts";
import type { Explorer, Found } from "./explorer.ts";
import { HOSTS } from "./group/group-state.ts";
import { describeEntry } from "./host/entry.ts";
import type { Host, HostEvent, MessageInTransit } from "./host/host-state.ts";
import { renamed, renameHost, renameMessage, type Renaming } from "./host/renaming.ts";

/**
 * Describes how a violation comes about: one line for each event, with the node's state after it. The
 * explorer renames nodes from state to state; in the trace, each node keeps its name. The trace must come
 * from the explorer that found the violation, because only that one knows what the numbers mean.
 */
export function describeTrace(explorer: Explorer, found: Found): string[] {
  if (found.events.length === 0) return [`     on the way to the start: ${found.sentence}`];
  const { cache } = explorer;
  const { bounds } = cache;
  let state = explorer.initial();
  let names: Renaming = namesOf(bounds).map((_, place) => place);
  const lines: string[] = [];
  for (const event of found.events) {
    if (event.type === "tick") {
      lines.push("the shortest election timeout passes on all clocks");
      const after = event === found.events.at(-1) ? "impossible" : explorer.stepper.apply(state, event);
      if (typeof after === "string") break;
      const canonical = explorer.canonical.of(after);
      names = throughRenaming(names, cache.renamings[canonical.renaming] ?? []);
      state = canonical.state;
      continue;
    }
    const place = event.type === "host" ? event.place : cache.receiverOf(event.message);
    const name = (id: NodeId): NodeId => renamed(names, id);
    const message = event.type === "host" ? null : renameMessage(names, cache.messages.at(event.message));
    const happened =
      message === null
        ? describeEvent(
            name(namesOf(bounds)[place] ?? ""),
            event.type === "host" ? cache.eventOf(event.event) : null,
          )
        : `${message.to} ${event.type === "drop" ? "never gets" : "gets"} ${describeMessage(message)}`;
    const after = event === found.events.at(-1) ? "impossible" : explorer.stepper.apply(state, event);
    if (typeof after === "string") {
      lines.push(happened);
      break;
    }
    const host = renameHost(names, cache.hosts.at(after[HOSTS + place] ?? -1));
    lines.push(event.type === "drop" ? happened : `${happened} -> ${describeHost(host)}`);
    const canonical = explorer.canonical.of(after);
    names = throughRenaming(names, cache.renamings[canonical.renaming] ?? []);
    state = canonical.state;
  }
  return [
    ...lines.map((line, at) => `${String(at + 1).padStart(3)}. ${line}`),
    `     ${inNames(found.sentence, names)}`,
  ];
}

/** Replaces the last state's node names in a sentence by those of the trace. */
function inNames(sentence: string, names: Renaming): string {
  return sentence.replaceAll(/\bn\d\b/g, (name) => renamed(names, name));
}

/** By place, the name that a node has in the trace, after the state was renamed once more. */
function throughRenaming(names: Renaming, renaming: Renaming): Renaming {
  const after: number[] = [];
  for (const [place, to] of renaming.entries()) after[to] = names[place] ?? -1;
  return after;
}

function describeEvent(name: NodeId, event: HostEvent | null): string {
  switch (event?.type) {
    case "timeout":
      return `${name}: the election timeout passes`;
    case "heartbeat":
      return `${name}: a heartbeat is due`;
    case "unanswered-heartbeat":
      return `${name}: a heartbeat is due, long after the last answer`;
    case "step-down":
      return `${name}: no majority has answered for an election timeout`;
    case "lease-ends":
      return `${name}: the leader was not heard for the shortest election timeout`;
    case "propose":
      return `${name}: a client proposes p${event.payload}`;
    case "change":
      return `${name}: a change of membership is asked for`;
    case "snapshot":
      return `${name} takes a snapshot, and compacts its log`;
    case "install":
      return `${name} installs the snapshot that it was offered`;
    case "install-crash":
      return `${name} crashes when the snapshot that it was offered is on its disk, and restarts`;
    case "read":
      return `${name}: a client asks for a read; ${event.committed} is committed`;
    case "transfer":
      return `${name}: is asked to transfer its leadership`;
    case "transfer-expires":
      return `${name}: gives up the transfer of its leadership`;
    case "persist":
      return `${name}: the oldest write is durable, and reported so`;
    case "drain":
      return `${name}: the actions are taken`;
    case "crash":
      return `${name} crashes when ${event.steps} steps of its writes had reached the disk, and restarts`;
    default:
      return name;
  }
}

function describeMessage({ message, entries }: MessageInTransit): string {
  const head = `${message.type} from ${message.from} in term ${message.term}`;
  switch (message.type) {
    case "append-entries": {
      const { prev } = message.entries;
      return `${head}: [${entries.map(describeEntry).join(" ")}] after ${prev.index}@${prev.term}, commit ${message.commit}`;
    }
    case "append-entries-reply": {
      const { outcome } = message;
      return outcome.accepted
        ? `${head}: accepted up to ${outcome.match}`
        : `${head}: refused ${outcome.refused}, try ${outcome.hint.index}@${outcome.hint.term}`;
    }
    case "request-vote":
    case "pre-vote":
      return `${head}: its log ends at ${message.last.index}@${message.last.term}`;
    case "request-vote-reply":
    case "pre-vote-reply":
      return `${head}: ${message.granted ? "yes" : "no"}`;
    default:
      return head;
  }
}

/** A host in one line. */
function describeHost({ id, node, memory, disk, writes }: Host): string {
  const { hardState, log } = disk;
  const stored = `disk: term ${hardState.term}, vote ${hardState.votedFor ?? "none"}, [${log.map(describeEntry).join(" ")}]`;
  const pending = writes.length === 0 ? "" : `, ${writes.length} under way`;
  return `${id} ${node.role.type} in term ${node.term}, log [${memory.map(describeEntry).join(" ")}], commit ${node.commitIndex}; ${stored}${pending}`;
}
