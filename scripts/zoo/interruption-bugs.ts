import type { Bug } from "./bug.ts";

/** Bugs that show when much is under way and is interrupted, or when the runtime loses a wake-up. */
export const INTERRUPTION_BUGS: readonly Bug[] = [
  {
    code: "K4j",
    title: "A leader says only once that a forwarded call is under way, and its caller gives up",
    file: "runtime/writes/forwarded-call-server.ts",
    from: "      this.#tellProgress();\n      this.#armTimer();",
    to: "      this.#tellProgress();",
  },
  {
    code: "Q3i",
    title: "A node that fetches a snapshot at a limited rate asks again for parts that are on their way",
    file: "runtime/snapshots/snapshot-fetcher.ts",
    from: "if (now - sentAt < RETRY_MS) continue;",
    to: "if (now - sentAt < RETRY_MS / 8) continue;",
  },
  {
    code: "S6",
    title: "A resumed fetch goes on at a multiple of the chunks' size, and leaves out what lies before it",
    file: "runtime/snapshots/snapshot-fetcher.ts",
    from: "transfer.nextOffset = incoming.offset;",
    to: "transfer.nextOffset = Math.ceil(incoming.offset / this.#chunkBytes) * this.#chunkBytes;",
  },
  {
    code: "Z15d",
    title: "Writes to the log aren't watched, and a node whose log hangs goes on",
    file: "runtime/loop/persister.ts",
    from: 'await this.#watchdog.monitor("a write to the log", () => this.#store.append(write));',
    to: "await this.#store.append(write);",
  },
  {
    code: "Z19b",
    title: "Of many writes that are lost together, only as many end as one turn may take",
    file: "runtime/writes/pending-proposals.ts",
    from: "          this.#environment.defer(() => {\n            if (this.entries > 0) again();\n          });\n",
    to: "          void again;\n",
  },
  {
    code: "Z19c",
    title: "Of many calls that wait for a leader, only as many are made as one turn may take",
    file: "runtime/writes/call-forwarder.ts",
    from: "      environment.defer(step);\n",
    to: "",
  },
  {
    code: "Z25",
    title: "A transfer of leadership begins with the next message or timer, not with the call",
    file: "runtime/loop/driver.ts",
    from: "return this.#feedCore(() => this.#core.transferLeadership(to, this.#environment.now()));",
    to: "return this.#failNodeOnThrow(() => this.#core.transferLeadership(to, this.#environment.now()));",
  },
  {
    code: "Z26",
    title: "A change that another leader's entry took the place of is reported as done",
    file: "runtime/members/membership-changes.ts",
    from: "        attempt.hasProposed = !isFirstStep;\n        throw new ChangeRefusedError(",
    to: "        attempt.hasProposed = !isFirstStep;\n        if (!isJoint(config)) return true;\n        throw new ChangeRefusedError(",
  },
];
