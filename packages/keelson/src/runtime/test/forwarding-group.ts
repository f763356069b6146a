import { TestCluster, type TestNode, type TestOptions } from "./test-cluster.ts";

/** A cluster with the option `forward`, its leader, and a follower (`other`). */
export async function forwardingGroup(
  options: TestOptions = {},
): Promise<{ cluster: TestCluster; leader: TestNode; other: TestNode }> {
  const cluster = await TestCluster.of(["a", "b", "c"], 1, { forward: true, ...options });
  const leader = await cluster.leader();
  await cluster.advance(200);
  const [other] = cluster.followers(leader);
  if (other === undefined) throw new Error("no follower");
  return { cluster, leader, other };
}
