import { CallDeadlines, RetryDelays } from "../calls/index.ts";
import { StorageWatchdog } from "../loop/index.ts";
import { type RaftOptions, settingsOf, type Settings } from "../shared/index.ts";
import { coreObserver, stateProbe, type CoreObserverOption } from "./core-observer.ts";
import { checkInquiries } from "./cluster-formation.ts";
import { composeNode, type ComposedNode } from "./compose.ts";
import { outerPartsOf, type OuterParts } from "./default-parts.ts";
import { plannedCluster } from "./first-membership.ts";
import { nodeLogs } from "./node-log.ts";
import type { ProcessParts } from "./node-parts.ts";
import { NodeStatus } from "./node-status.ts";
import { openGroup } from "./open-group.ts";

/** Opens everything that a node runs on, and starts it. On failure, what was opened is closed again. */
export async function openNode<Command, Result>(
  options: RaftOptions<Command, Result>,
): Promise<ComposedNode<Command, Result>> {
  const settings = settingsOf(options);
  const { id, clusterId } = settings;
  const planned = options.members === undefined ? null : plannedCluster(options.members, id, clusterId);
  const outer = await outerPartsOf(options);
  const logs = nodeLogs(options, outer.environment.diagnostics);
  if (planned !== null) checkInquiries(planned, outer.transport);
  const status = new NodeStatus();
  const process = processPartsOf(outer, settings, status);
  const group = await openGroup(options, settings, process, outer, logs);
  (options as CoreObserverOption)[coreObserver]?.(group.core);
  const node = composeNode(process, group, status, logs, planned);
  (options as CoreObserverOption)[stateProbe]?.(node.probe);
  try {
    await process.transport.start(node.transportHost);
  } catch (error) {
    await node.lifecycle.close();
    throw error;
  }
  node.updatePeers();
  // A node that was removed before it was closed may get no input any more that would make it look.
  node.removal.afterCoreInput();
  node.snapshots.start();
  node.formation?.start();
  // A node that was in a cluster before it restarted has an election timer to set.
  node.driver.scheduleDrain();
  return node;
}

function processPartsOf(
  { transport, environment }: OuterParts,
  { timings }: Settings,
  status: NodeStatus,
): ProcessParts {
  return {
    environment,
    transport,
    watchdog: new StorageWatchdog(environment, timings.storageTimeoutMs, (what) => {
      status.fail({ kind: "storage", message: `${what}, so the node stops`, cause: null });
    }),
    deadlines: new CallDeadlines(environment),
    retryDelays: new RetryDelays(environment),
  };
}
