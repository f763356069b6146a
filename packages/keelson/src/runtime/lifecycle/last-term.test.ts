import { expect, it } from "vitest";
import { TERM_MAX } from "../../core/position.ts";
import { FakeDisk } from "../test/fake-log.ts";
import { TestCluster } from "../test/test-cluster.ts";

it.each([TERM_MAX, Number.MAX_SAFE_INTEGER])(
  "a node that a hostile message took to term %s says at its start what to do, and changes nothing [Z17]",
  async (term) => {
    const cluster = new TestCluster();
    const disk = new FakeDisk("store-a");
    disk.hardState = { term, votedFor: null };
    cluster.disks.set("a", disk);
    for (let start = 0; start < 2; start++) {
      const error = await cluster.failure(cluster.startOpening("a"));
      expect(error).toMatchObject({ code: "STORAGE_FAILED", outcome: "not-done" });
      expect(error.message).toContain(`this node is in term ${String(term)}`);
      expect(error.message).toContain("run `keelson recover`");
    }
    expect(disk.hardState).toEqual({ term, votedFor: null });
  },
);
