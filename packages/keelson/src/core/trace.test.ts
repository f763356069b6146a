import { describe, expect, it } from "vitest";

import type { Message } from "./message.ts";
import { act, ABC, at, leading, restarted, logOf } from "./test/script.ts";
import { describeAction, describeActions, describeConfig, describeMessage, describeNode } from "./trace.ts";

const HEADER = { from: "a", term: 3 } as const;

describe("the debug trace", () => {
  it.each<[Message, string]>([
    [{ ...HEADER, type: "pre-vote", round: 6, last: at("5@2") }, "pre-vote term=3 last=5@2"],
    [{ ...HEADER, type: "pre-vote-reply", granted: true, round: 6 }, "pre-vote-reply term=3 granted"],
    [
      { ...HEADER, type: "request-vote", last: at("5@2"), transfer: true },
      "request-vote term=3 last=5@2 transfer",
    ],
    [{ ...HEADER, type: "request-vote-reply", granted: false }, "request-vote-reply term=3 refused"],
    [{ ...HEADER, type: "read-index", id: 7 }, "read-index term=3 id=7"],
    [{ ...HEADER, type: "read-index-reply", id: 7, index: null }, "read-index-reply term=3 id=7 index=none"],
    [{ ...HEADER, type: "timeout-now" }, "timeout-now term=3"],
    [
      { ...HEADER, type: "install-snapshot", last: at("9@2"), config: ABC, round: 1 },
      "install-snapshot term=3 last=9@2 config=a,b,c",
    ],
  ])("describes a message: %j", (message, text) => {
    expect(describeMessage(message)).toBe(text);
  });

  it("describes the runs and configurations of an AppendEntries", () => {
    const entries = {
      prev: at("1@1"),
      lastIndex: 5,
      terms: [
        { index: 2, term: 2 },
        { index: 3, term: 3 },
      ],
      configs: [{ index: 4, config: ABC }],
    };
    expect(describeMessage({ ...HEADER, type: "append-entries", entries, commit: 1, round: 2 })).toBe(
      "append-entries term=3 prev=1@1 entries=2@2,3-5@3,config(4) commit=1 round=2",
    );
  });

  it("names both sides of a joint configuration, and the learners", () => {
    const config = { voters: ["a", "d"], outgoingVoters: ["a", "b"], learners: ["e"] };
    expect(describeConfig(config)).toBe("a,d outgoing a,b learners e");
  });

  it("describes the effects of a node in the order in which to carry them out", () => {
    const node = restarted({ log: logOf("1@1", "0@0", [{ index: 1, config: ABC }]), preVote: false });
    node.handleTimeout(1000);
    expect(describeActions(node.takeActions())).toEqual([
      "save term=2 vote=a",
      "once durable, send to b: request-vote term=2 last=1@1",
      "once durable, send to c: request-vote term=2 last=1@1",
    ]);
  });

  it("describes effects that few inputs cause", () => {
    expect(describeAction({ type: "set-timer", deadline: null })).toBe("set the timer to never");
    expect(describeAction({ type: "append-entries", truncateFrom: 4, from: 4, to: 4 })).toBe(
      "truncate from 4",
    );
    expect(describeAction({ type: "read", id: 2, index: null })).toBe("read 2 failed: ask again");
    expect(describeAction({ type: "send-snapshot", to: "c" })).toBe("c needs a snapshot");
  });

  it("describes a node in a line", () => {
    const node = leading();
    act(node);
    expect(describeNode(node)).toBe(
      "a leader term=2 vote=a leader=a last=2@2 durable=2 commit=0 config=a,b,c",
    );
  });
});
