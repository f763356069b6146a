import { describe, expect, it } from "vitest";
import type { RuntimeMessage } from "../../../codec/frame-runtime-message.ts";
import type { AppendEntries, AppendEntriesReply } from "../../../core/message.ts";
import { RaftNode } from "../../../core/node.ts";
import { CHAIN_MESSAGES_MAX, ChainChecker } from "./chain-checker.ts";

const heartbeat: AppendEntries = {
  ...{ type: "append-entries", from: "n1", term: 1, commit: 0, round: 1 },
  entries: { prev: { term: 0, index: 0 }, lastIndex: 0, terms: [], configs: [] },
};
const refusal: AppendEntriesReply = {
  ...{ type: "append-entries-reply", from: "n2", term: 1, round: 1 },
  outcome: { accepted: false, refused: 5, hint: { term: 0, index: 0 } },
};

/** Two nodes that answer each other, over and over, each in a turn of its own. */
class Exchange {
  readonly chains = new ChainChecker();
  readonly #core: RaftNode | null;

  constructor(core: RaftNode | null = null) {
    this.#core = core;
    this.chains.started("n1");
    this.chains.started("n2");
  }

  /** So many times to and fro; `between` is called before each message that n1 sends. */
  run(times: number, between: (time: number) => void = () => undefined): void {
    for (let time = 0; time < times; time++) {
      between(time);
      this.chains.sending("n1", this.#core, "n2", heartbeat);
      this.chains.turnEnded();
      this.chains.receiving("n2", heartbeat);
      this.chains.sending("n2", null, "n1", refusal);
      this.chains.turnEnded();
      this.chains.receiving("n1", refusal);
    }
  }
}

describe("ChainChecker", () => {
  it("reports two nodes that answer each other without end, once the chain is too long (Q8)", () => {
    const exchange = new Exchange();
    exchange.run(CHAIN_MESSAGES_MAX / 2);
    expect(() => {
      exchange.run(1);
    }).toThrow(/LIVE: n1 sends n2 a message of type append-entries: .* nothing advances/);
  });

  it("accepts as many messages that a timer or a use of the cluster causes", () => {
    const exchange = new Exchange();
    exchange.run(50, () => {
      exchange.chains.turnEnded();
      exchange.chains.woken("n1");
    });
    exchange.run(50, () => {
      exchange.chains.used();
    });
  });

  it("accepts as many messages while the node that sends them advances", () => {
    const core = RaftNode.start({ id: "n1", random: () => 0.5 });
    core.createCluster(["n1"], 0);
    const exchange = new Exchange(core);
    let now = 0;
    exchange.run(50, () => {
      now += 1_000;
      core.handlePersisted(core.takeActions().persistId, now);
      core.handleTimeout(now);
      core.proposeCommand(now);
    });
    expect(() => {
      exchange.run(CHAIN_MESSAGES_MAX);
    }).toThrow(/nothing advances/);
  });

  it("counts each part of a snapshot once, until it is fetched anew", () => {
    const core = RaftNode.start({ id: "n1", random: () => 0.5 });
    const chains = new ChainChecker();
    chains.started("n1");
    const request = (id: string | null, offset: number): RuntimeMessage => {
      return { type: "snapshot-request", from: "n1", id, index: 1, offset, bytes: 10 };
    };
    const fetch = (id: string | null, offset: number): void => {
      const part: RuntimeMessage = {
        ...{ type: "snapshot-chunk", from: "n2", id: "s", size: 1_000, offset },
        payload: Uint8Array.of(1),
      };
      chains.sending("n1", core, "n2", request(id, offset));
      chains.turnEnded();
      chains.receiving("n2", request(id, offset));
      chains.sending("n2", null, "n1", part);
      chains.turnEnded();
      chains.receiving("n1", part);
    };
    for (let time = 0; time < 3; time++) {
      fetch(null, 0);
      for (let offset = 0; offset < 50; offset++) fetch("s", offset);
    }
    expect(() => {
      for (let time = 0; time < 50; time++) fetch("s", 7);
    }).toThrow(/nothing advances/);
  });

  it("follows a chain through a turn in which nothing arrives", () => {
    const exchange = new Exchange();
    expect(() => {
      exchange.run(CHAIN_MESSAGES_MAX, () => {
        exchange.chains.turnEnded();
      });
    }).toThrow(/nothing advances/);
  });
});
