/**
 * Runs a play: a text file of short commands to a small cluster of real cores, each followed by what the
 * cores did. The same file is script, golden output and documentation; `plays/README.md` lists the commands.
 */
import { CoreHost, type MessageInTransit, type TestEntry } from "./core-host.ts";
import {
  configOf,
  type Actions,
  type NodeId,
  type RaftNode,
  type RaftNodeOptions,
} from "../../core/index.ts";
import {
  describeAction,
  describeConfig,
  describeMessage,
  describeNode,
  describePosition,
} from "../../core/trace.ts";

/** The line between a scene's commands and their output. */
const RULE = "----";

/**
 * The most messages that one command delivers. If messages still flow then, the core has a bug, or the play
 * waits for something that never happens.
 */
const DELIVERIES_MAX = 300;

/**
 * How many times `timeout` moves the clock to the core's next timer until the core does something. A timer
 * may come before the deadline for which it was set.
 */
const TIMER_STEPS_MAX = 10;

/** Commands of one scene, with the prose before them. */
interface Scene {
  readonly prose: readonly string[];
  readonly commands: readonly string[];
}

/** The play with its output made anew: equal to `text` if nothing has changed. */
export function performPlay(text: string): string {
  const stage = new Stage();
  const scenes = scenesOf(text).map(({ prose, commands }) => {
    const output = commands.flatMap((command) => stage.perform(command));
    const lines =
      commands.length === 0 ? [] : [...commands, RULE, ...(output.length === 0 ? ["ok"] : output)];
    return [...prose, ...lines].join("\n");
  });
  return `${scenes.join("\n\n")}\n`;
}

/**
 * Blocks between blank lines: `#` lines are prose, the rest up to the rule are commands, what follows is old
 * output.
 */
function scenesOf(text: string): Scene[] {
  return text
    .split(/\n\s*\n/)
    .map((block) => block.split("\n").filter((line) => line !== ""))
    .filter((lines) => lines.length > 0)
    .map((lines) => {
      const end = lines.includes(RULE) ? lines.indexOf(RULE) : lines.length;
      const script = lines.slice(0, end);
      return {
        prose: script.filter((line) => line.startsWith("#")),
        commands: script.filter((line) => !line.startsWith("#")),
      };
    });
}

/** The cluster, its network and its clock. */
class Stage {
  readonly #hosts = new Map<NodeId, CoreHost>();
  /** Sent and not delivered, oldest first. */
  #network: MessageInTransit[] = [];
  /** Nodes whose writes to disk complete only when the play says so. */
  readonly #slowDisks = new Set<NodeId>();
  /** Directions in which messages are lost, as `from>to`. */
  readonly #cuts = new Set<string>();
  #options: Partial<RaftNodeOptions> = {};
  #now = 0;
  #lines: string[] = [];
  /** Of each node, the role, term and leader that were printed last. */
  readonly #lastRoles = new Map<NodeId, string>();

  /** Carries out one command; returns what happened. */
  perform(command: string): string[] {
    this.#lines = [];
    const [verb = "", ...words] = command.split(/\s+/);
    const run = this.#commands[verb];
    if (run === undefined) throw new Error(`a play knows no command ${verb}: ${command}`);
    run(words);
    return this.#lines;
  }

  readonly #commands: Readonly<Record<string, (words: readonly string[]) => void>> = {
    options: (words) => {
      for (const word of words) this.#setOption(word);
    },
    cluster: (ids) => {
      for (const id of ids) {
        const host = this.#add(id);
        host.createCluster(ids, this.#now);
        this.#settle(host, false);
      }
      for (const id of ids) this.#print(describeNode(this.#host(id).node));
    },
    blank: (ids) => {
      for (const id of ids) this.#print(describeNode(this.#add(id).node));
    },
    elapse: ([ms]) => {
      this.#now += Number(ms);
    },
    live: ([ms]) => {
      this.#live(Number(ms));
    },
    timeout: ([id]) => {
      this.#timeout(this.#host(id));
    },
    elect: ([id]) => {
      // Show only the result. `plays/election.txt` shows a whole election; in other plays it is only the
      // preparation.
      this.#timeout(this.#host(id));
      this.#deliverAll(() => true);
      this.#lines = [describeNode(this.#host(id).node)];
    },
    run: () => {
      this.#deliverAll(() => true);
    },
    deliver: ([from, to, type]) => {
      const isMeant = matcher(from, to, type);
      this.#deliverAll(isMeant, 1);
    },
    drop: ([from, to, type]) => {
      const isMeant = matcher(from, to, type);
      const lost = this.#network.filter(isMeant);
      this.#network = this.#network.filter((sent) => !isMeant(sent));
      for (const sent of lost) this.#print(`lost: ${describeInTransit(sent)}`);
    },
    copy: ([from, to, type]) => {
      const sent = this.#network.find(matcher(from, to, type));
      if (sent === undefined) throw new Error("there is no such message to copy");
      this.#network.push(sent);
    },
    network: () => {
      for (const sent of this.#network) this.#print(describeInTransit(sent));
    },
    cut: ([a, b]) => {
      this.#cuts.add(`${String(a)}>${String(b)}`).add(`${String(b)}>${String(a)}`);
    },
    isolate: ([id]) => {
      for (const other of this.#hosts.keys()) {
        this.#cuts.add(`${String(id)}>${other}`).add(`${other}>${String(id)}`);
      }
    },
    heal: () => {
      this.#cuts.clear();
    },
    "slow-disk": ([id]) => {
      this.#slowDisks.add(this.#host(id).id);
    },
    persist: ([id]) => {
      const host = this.#host(id);
      this.#persistOne(host);
      this.#settle(host);
    },
    "fast-disk": ([id]) => {
      const host = this.#host(id);
      this.#slowDisks.delete(host.id);
      this.#settle(host);
    },
    propose: ([id, ...payloads]) => {
      const host = this.#host(id);
      for (const payload of payloads) {
        const position = host.propose(payload, this.#now);
        this.#print(
          position === null ? `${host.id} takes no commands` : `${payload} is ${describePosition(position)}`,
        );
      }
      this.#settle(host);
    },
    status: ([id, text = ""]) => {
      const [index = 0, term = 0] = text.split("@").map(Number);
      this.#print(`${text} on ${String(id)}: ${this.#host(id).node.commitStatus({ index, term })}`);
    },
    config: ([id, ...parts]) => {
      const host = this.#host(id);
      const lists = new Map(parts.map((part) => part.split("=") as [string, string]));
      const list = (name: string): string[] => lists.get(name)?.split(",") ?? [];
      const result = host.proposeConfig(configOf(list("voters"), list("learners")), this.#now);
      this.#print(
        typeof result === "string"
          ? `refused: ${result}`
          : `the change begins at ${describePosition(result)}`,
      );
      this.#settle(host);
    },
    transfer: ([id, to]) => {
      const host = this.#host(id);
      const result = host.node.transferLeadership(to ?? null, this.#now);
      this.#print(typeof result === "string" ? `refused: ${result}` : `to ${result.to}`);
      this.#settle(host);
    },
    read: ([id]) => {
      const host = this.#host(id);
      host.node.readIndex(this.#now);
      this.#settle(host);
    },
    lease: ([id]) => {
      const index = this.#host(id).node.leaseIndex(this.#now);
      this.#print(index === null ? "no lease: ask a majority" : `read at index ${String(index)}`);
    },
    compact: ([id, index]) => {
      this.#host(id).compact(Number(index), this.#now);
    },
    install: ([id]) => {
      const host = this.#host(id);
      host.beginInstall();
      host.finishInstall(this.#now);
      this.#print(`${host.id} installed the snapshot`);
      this.#settle(host);
    },
    crash: ([id, ...kept]) => {
      const values = new Map(kept.map((word) => word.split("=") as [string, string]));
      const entries = values.get("entries");
      this.#host(id).crash({
        whole: Number(values.get("writes") ?? 0),
        entries: entries === undefined ? null : Number(entries),
      });
    },
    restart: ([id]) => {
      const host = this.#host(id);
      host.restart(this.#now);
      this.#settle(host);
      this.#print(describeNode(host.node));
    },
    nodes: () => {
      for (const host of this.#hosts.values()) {
        this.#print(host.isUp ? describeNode(host.node) : `${host.id} is down`);
      }
    },
    logs: () => {
      for (const { id, isUp, memory } of this.#hosts.values()) {
        this.#print(isUp ? `${id}: ${describeEntries(memory)}` : `${id} is down`);
      }
    },
    applied: () => {
      for (const { id, applied } of this.#hosts.values()) {
        this.#print(`${id}: ${applied.length === 0 ? "nothing" : describeEntries(applied)}`);
      }
    },
    progress: ([id]) => {
      for (const other of this.#hosts.keys()) {
        const progress = this.#host(id).node.progress(other);
        if (progress === undefined) continue;
        this.#print(
          `${other}: ${progress.state} match=${String(progress.match)} next=${String(progress.next)}`,
        );
      }
    },
  };

  #setOption(word: string): void {
    const [name = "", value = ""] = word.split("=");
    const isOn = value === "on";
    if (name === "pre-vote") this.#options = { ...this.#options, preVote: isOn };
    else if (name === "check-quorum") this.#options = { ...this.#options, checkQuorum: isOn };
    else if (name === "message-entries") {
      this.#options = { ...this.#options, messageEntriesMax: Number(value) };
    } else throw new Error(`a play knows no option ${name}`);
  }

  #add(id: NodeId): CoreHost {
    // The first number drawn is where the ids of reads begin: 0, so that they read 1, 2, 3. All others are
    // election timeouts.
    let draws = 0;
    const host = new CoreHost(id, () => (draws++ === 0 ? 0 : 0.5), this.#options);
    this.#hosts.set(id, host);
    return host;
  }

  #host(id: string | undefined): CoreHost {
    const host = id === undefined ? undefined : this.#hosts.get(id);
    if (host === undefined) throw new Error(`a play has no node ${String(id)}`);
    return host;
  }

  /** Moves the clock to the node's next deadline, and lets it act. */
  #timeout(host: CoreHost): void {
    for (let step = 0; step < TIMER_STEPS_MAX; step++) {
      if (host.timer === null) break;
      this.#now = Math.max(this.#now, host.timer);
      const before = this.#lines.length;
      const queued = this.#network.length;
      host.timeout(this.#now);
      this.#settle(host);
      if (this.#lines.length > before || this.#network.length > queued) return;
    }
    this.#print("nothing happens");
  }

  /**
   * Lets every node act on its own timers for `ms`, and shows only changes of roles and leaders, and answers
   * to reads.
   */
  #live(ms: number): void {
    const end = this.#now + ms;
    const shown: string[] = [];
    for (;;) {
      const next = [...this.#hosts.values()]
        .filter(({ isUp, timer }) => isUp && timer !== null && timer <= end)
        .sort((a, b) => (a.timer ?? 0) - (b.timer ?? 0))[0];
      if (next === undefined) break;
      this.#now = Math.max(this.#now, next.timer ?? 0);
      this.#lines = [];
      next.timeout(this.#now);
      this.#settle(next);
      while (this.#network.length > 0) this.#deliverAll(() => true);
      shown.push(...this.#lines.filter((line) => / in term \d+, leader |: read /.test(line)));
    }
    this.#now = end;
    this.#lines = shown;
  }

  #deliverAll(isMeant: (sent: MessageInTransit) => boolean, most = DELIVERIES_MAX): void {
    for (let count = 0; count < most; count++) {
      const at = this.#network.findIndex(isMeant);
      const [sent] = at < 0 ? [] : this.#network.splice(at, 1);
      if (sent === undefined) {
        if (count === 0) this.#print("there is no such message");
        return;
      }
      this.#deliver(sent);
    }
    if (most === DELIVERIES_MAX) throw new Error(`messages still flow after ${String(most)} deliveries`);
  }

  #deliver(sent: MessageInTransit): void {
    const host = this.#host(sent.to);
    if (!host.isUp || this.#cuts.has(`${sent.message.from}>${sent.to}`)) {
      this.#print(`lost: ${describeInTransit(sent)}`);
      return;
    }
    this.#print(describeInTransit(sent));
    host.receive(sent, this.#now);
    this.#settle(host);
  }

  /** Takes the node's actions and carries them out, until it has no more. */
  #settle(host: CoreHost, isShown = true): void {
    for (;;) {
      const role = describeRole(host.node);
      if (isShown && role !== this.#lastRoles.get(host.id)) this.#print(`  ${role}`);
      this.#lastRoles.set(host.id, role);
      this.#network.push(...host.drain());
      if (isShown && host.lastActions !== null) this.#printEffects(host.id, host.lastActions);
      if (this.#slowDisks.has(host.id) || host.pendingWrites === 0) return;
      while (host.pendingWrites > 0) this.#persistOne(host);
    }
  }

  /** The effects in order; messages by type only, as they are shown in full when they arrive. */
  #printEffects(id: NodeId, actions: Actions): void {
    const sent = (messages: Actions["messages"], when: string): void => {
      for (const type of new Set(messages.map(({ message }) => message.type))) {
        const to = messages.filter(({ message }) => message.type === type).map((one) => one.to);
        this.#print(`  ${id}: ${when} ${type} to ${to.join(", ")}`);
      }
    };
    sent(actions.messages, "send");
    for (const action of actions) {
      if (action.type === "set-timer" || action.type === "send" || action.type === "send-after-persist")
        continue;
      this.#print(`  ${id}: ${describeAction(action)}`);
    }
    sent(actions.messagesAfterPersist, "once durable, send");
  }

  #persistOne(host: CoreHost): void {
    this.#network.push(...host.persistOne(this.#now));
  }

  #print(line: string): void {
    this.#lines.push(line);
  }
}

/** Tests whether a message has this sender, receiver and type. `*`, the default of each, fits all. */
function matcher(from = "*", to = "*", type = "*"): (sent: MessageInTransit) => boolean {
  const fits = (pattern: string, value: string): boolean => pattern === "*" || pattern === value;
  return ({ to: receiver, message }) =>
    fits(from, message.from) && fits(to, receiver) && fits(type, message.type);
}

function describeInTransit({ to, message }: MessageInTransit): string {
  return `${message.from} -> ${to}: ${describeMessage(message)}`;
}

function describeRole({ id, role, term, leader }: RaftNode): string {
  return `${id}: ${role} in term ${String(term)}, leader ${leader ?? "unknown"}`;
}

/** What a log holds, such as `1@1:config 2@2:blank 3@2:x`. */
function describeEntries(entries: readonly TestEntry[]): string {
  return entries
    .map(({ index, term, payload, config }) => {
      const what = config !== null ? `config ${describeConfig(config)}` : payload === "" ? "blank" : payload;
      return `${String(index)}@${String(term)}:${what}`;
    })
    .join(" | ");
}
