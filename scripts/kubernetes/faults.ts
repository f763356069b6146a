/**
 * What a Kubernetes schema can't know about the manifests: whether their parts fit each other and the server.
 */
import { parseServeOptions } from "../../packages/kv/src/cli/serve-options.ts";

type Labels = Readonly<Record<string, string>>;

interface Probe {
  readonly httpGet?: { readonly path: string; readonly port: string };
}

interface Container {
  readonly args: readonly string[];
  readonly ports: readonly { readonly name: string; readonly containerPort: number }[];
  readonly startupProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly readinessProbe?: Probe;
}

/** The fields that are looked at. Each kind has some of them. */
export interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly replicas?: number;
    readonly serviceName?: string;
    readonly clusterIP?: string;
    readonly publishNotReadyAddresses?: boolean;
    readonly podManagementPolicy?: string;
    readonly maxUnavailable?: number;
    readonly selector: Labels & { readonly matchLabels?: Labels };
    readonly ports?: readonly { readonly targetPort: string; readonly port: number }[];
    readonly template?: {
      readonly metadata: { readonly labels: Labels };
      readonly spec: {
        readonly terminationGracePeriodSeconds?: number;
        readonly containers: readonly Container[];
      };
    };
  };
}

/** The least time to hand the leadership over and close the log when the disk is slow. */
const GRACE_SECONDS_MIN = 30;

/** What is wrong with the manifests, a sentence each. */
export function faultsOf(manifests: readonly Manifest[]): string[] {
  const faults: string[] = [];
  const check = (condition: boolean, otherwise: string): void => {
    if (!condition) faults.push(otherwise);
  };
  const set = manifests.find(({ kind }) => kind === "StatefulSet");
  const template = set?.spec.template;
  const container = template?.spec.containers[0];
  if (set === undefined || template === undefined || container === undefined)
    return ["there is no StatefulSet with a container"];
  const { name } = set.metadata;
  const services = manifests.filter(({ kind }) => kind === "Service");
  const headless = services.find(({ metadata }) => metadata.name === set.spec.serviceName);
  check(headless?.spec.clusterIP === "None", "the StatefulSet's service is not headless");
  check(
    headless?.spec.publishNotReadyAddresses === true,
    "nodes that aren't ready have no name, and none is ready before they reach each other",
  );
  check(
    set.spec.podManagementPolicy === "Parallel",
    "a pod waits for another to be ready, which it never is",
  );
  for (const { kind, metadata, spec } of manifests) {
    const wanted = kind === "Service" ? spec.selector : (spec.selector.matchLabels ?? {});
    const fits = Object.entries(wanted).every(([key, value]) => template.metadata.labels[key] === value);
    check(fits && Object.keys(wanted).length > 0, `${kind} ${metadata.name} selects other pods`);
    for (const { targetPort } of spec.ports ?? [])
      check(
        container.ports.some((port) => port.name === targetPort),
        `${metadata.name} has no port ${targetPort}`,
      );
  }
  const budget = manifests.find(({ kind }) => kind === "PodDisruptionBudget");
  check(
    budget?.spec.maxUnavailable === 1,
    "the disruption budget doesn't allow exactly one member to be away",
  );
  check(
    (template.spec.terminationGracePeriodSeconds ?? 0) >= GRACE_SECONDS_MIN,
    `a node has less than ${GRACE_SECONDS_MIN} s to stop`,
  );
  const { startupProbe, livenessProbe, readinessProbe } = container;
  for (const [probe, target] of [
    [startupProbe, "/healthz"],
    [livenessProbe, "/healthz"],
    [readinessProbe, "/readyz"],
  ] as const)
    check(
      probe?.httpGet?.path === target,
      `a probe asks ${String(probe?.httpGet?.path)} instead of ${target}`,
    );
  for (let ordinal = 0; ordinal < (set.spec.replicas ?? 1); ordinal++)
    faults.push(...faultsOfCommand(container, `${name}-${ordinal}`, set));
  return faults;
}

/** Reads the command line of a pod as the server does, and compares it with the manifest. */
function faultsOfCommand({ args, ports }: Container, pod: string, set: Manifest): string[] {
  const [command, ...rest] = args.map((arg) =>
    arg.replaceAll("$(POD_NAME)", pod).replaceAll("$(POD_NAMESPACE)", "default"),
  );
  if (command !== "serve") return [`${pod} runs keelson ${String(command)}`];
  let options;
  try {
    options = parseServeOptions(rest);
  } catch (error) {
    return [`${pod}: ${error instanceof Error ? error.message : String(error)}`];
  }
  if (options === null) return [`${pod} only prints the help`];
  const faults: string[] = [];
  const own = `${pod}.${set.spec.serviceName ?? ""}`;
  const members = Object.keys(options.peers ?? {});
  if (members.length !== set.spec.replicas || !members.includes(pod))
    faults.push(`${pod}: --peers has ${members.join(", ")}, and there are ${String(set.spec.replicas)} pods`);
  const served = { raft: options.listen.port, line: options.line.port, http: options.http.port };
  for (const [name, port] of Object.entries(served)) {
    if (!ports.some((one) => one.name === name && one.containerPort === port))
      faults.push(`${pod} serves ${name} at ${port}, and the container's port is another`);
  }
  if (!rest.includes(`--advertise-http=${own}:${served.http}`))
    faults.push(`${pod} doesn't advertise ${own}`);
  return faults;
}
