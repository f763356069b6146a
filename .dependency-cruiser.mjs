// The arrows of ARCHITECTURE.md, "Layers": imports point down only.

const SRC = "^packages/keelson/src";
/** Files that only tests use may reach anywhere. */
const TESTS = "(\\.test\\.ts$|/test/)";

/** From the bottom up: what each layer may import besides itself and src/errors.ts. */
const LAYERS = {
  core: [],
  platform: [],
  codec: ["core", "platform"],
  environment: [],
  storage: ["core", "platform", "codec", "environment"],
  transport: ["core", "platform", "codec", "environment"],
  runtime: ["core", "platform", "codec", "environment", "storage", "transport"],
  testing: ["core", "codec", "environment", "storage", "transport", "runtime"],
};

const layerRules = Object.entries(LAYERS).map(([layer, below]) => {
  const allowed = [layer, ...below].map((name) => `${SRC}/${name}/`);
  // The core has assertions instead of errors: it imports nothing but itself.
  if (layer !== "core") allowed.push(`${SRC}/(errors|log-event)\\.ts$`);
  return {
    name: `layer-${layer}`,
    comment: `${layer} may import ${[layer, ...below, ...(layer === "core" ? [] : ["errors.ts"])].join(", ")}`,
    severity: "error",
    from: { path: `${SRC}/${layer}/`, pathNot: TESTS },
    to: { path: "^packages/", pathNot: allowed },
  };
});

/** The server's package, from the bottom up: what each folder may import besides itself. */
const KV = "^packages/kv/src";
const KV_FOLDERS = {
  shared: [],
  leveldb: [],
  store: ["leveldb"],
  node: ["store"],
  access: ["shared"],
  tls: ["shared"],
  // The bytes of the binary client protocol: the server and the client use them.
  binary: ["shared", "store"],
  // What clients may do, the same by HTTP and by the binary protocol.
  operations: ["shared", "store", "node"],
  "binary-server": ["shared", "store", "node", "access", "binary", "operations"],
  http: ["shared", "store", "node", "access", "tls", "operations", "binary", "binary-server"],
  line: ["shared", "store", "node", "access", "tls"],
  // The client writes requests in the syntax that the server reads (http/request-syntax.ts).
  client: ["shared", "access", "binary", "http"],
  server: ["shared", "store", "node", "access", "tls", "http", "line", "client"],
  cli: ["shared", "store", "node", "access", "client", "server"],
};
/** The only files of a folder that other folders may import. */
const KV_ENTRIES = {
  http: ["http-server", "request-syntax"],
  line: ["line-server"],
  node: ["kv-node", "removal-watch", "data-directory"],
  server: ["kv-server", "server-settings", "join"],
};

const kvRules = [
  ...Object.entries(KV_FOLDERS).map(([folder, below]) => ({
    name: `kv-${folder}`,
    comment: `packages/kv/src/${folder} may import ${[folder, ...below].join(", ")}`,
    severity: "error",
    from: { path: `${KV}/${folder}/`, pathNot: TESTS },
    to: { path: `${KV}/`, pathNot: [folder, ...below].map((name) => `${KV}/${name}/`) },
  })),
  ...Object.entries(KV_ENTRIES).map(([folder, files]) => ({
    name: `kv-${folder}-entry`,
    comment: `Outside packages/kv/src/${folder}, only these of its files are imported: ${files.join(", ")}`,
    severity: "error",
    from: { path: `${KV}/`, pathNot: [`${KV}/${folder}/`, TESTS] },
    to: { path: `${KV}/${folder}/`, pathNot: files.map((file) => `${KV}/${folder}/${file}\\.ts$`) },
  })),
  {
    name: "kv-client-http",
    comment: "The client shares the request syntax with the server, and nothing else.",
    severity: "error",
    from: { path: `${KV}/client/`, pathNot: TESTS },
    to: { path: `${KV}/http/`, pathNot: `${KV}/http/request-syntax\\.ts$` },
  },
];
/** The runtime's folders, from the bottom up: which others each may import, always through their index.ts. */
const RUNTIME_FOLDERS = {
  shared: [],
  calls: [],
  sessions: ["shared", "calls"],
  members: ["shared", "calls"],
  loop: ["shared", "calls", "sessions", "members"],
  writes: ["shared", "calls", "sessions", "loop"],
  reads: ["shared", "calls"],
  streams: ["loop"],
  snapshots: ["shared", "calls", "sessions", "members", "loop"],
  lifecycle: [
    ...["shared", "calls", "sessions", "members", "loop"],
    ...["writes", "reads", "streams", "snapshots"],
  ],
};

const RUNTIME = `${SRC}/runtime`;

const runtimeFolderRules = Object.entries(RUNTIME_FOLDERS).map(([folder, below]) => ({
  name: `runtime-${folder}`,
  comment: `runtime/${folder} may import ${[folder, ...below.map((name) => `${name}/index.ts`)].join(", ")}`,
  severity: "error",
  from: { path: `${RUNTIME}/${folder}/`, pathNot: TESTS },
  to: {
    path: `${RUNTIME}/`,
    pathNot: [
      `${RUNTIME}/${folder}/(?!index\\.ts$)`,
      ...below.map((name) => `${RUNTIME}/${name}/index\\.ts$`),
    ],
  },
}));

const TESTING = `${SRC}/testing`;

/** The folders of keelson/testing: which others each may import. */
const TESTING_FOLDERS = {
  core: ["model"],
  explore: ["core", "model"],
  linearizability: [],
  model: [],
  suites: [],
  simulator: ["core", "linearizability", "model"],
};

/**
 * The simulator's folders, from the bottom up: which others each may import, besides the linearizability
 * checker.
 */
const SIMULATOR_FOLDERS = {
  plan: [],
  subject: ["plan"],
  checkers: [],
  world: ["plan", "subject", "checkers"],
  clients: ["plan", "subject", "checkers", "world"],
  faults: ["plan", "world", "clients"],
  run: ["plan", "subject", "checkers", "world", "clients", "faults"],
};

/** The explorer's folders, from the bottom up: which others each may import. */
const EXPLORER_FOLDERS = { shared: [], host: ["shared"], group: ["shared", "host"] };

const testingRules = [
  ...Object.entries(TESTING_FOLDERS).map(([folder, others]) => ({
    name: `testing-${folder}`,
    comment: `testing/${folder} may import ${[folder, ...others].join(", ")}`,
    severity: "error",
    from: { path: `${TESTING}/${folder}/`, pathNot: TESTS },
    to: { path: `${TESTING}/`, pathNot: [folder, ...others].map((name) => `${TESTING}/${name}/`) },
  })),
  ...Object.entries(SIMULATOR_FOLDERS).map(([folder, below]) => ({
    name: `simulator-${folder}`,
    comment: `testing/simulator/${folder} may import ${[folder, ...below].join(", ")}`,
    severity: "error",
    from: { path: `${TESTING}/simulator/${folder}/`, pathNot: TESTS },
    to: {
      path: `${TESTING}/simulator/`,
      pathNot: [folder, ...below].map((name) => `${TESTING}/simulator/${name}/`),
    },
  })),
  ...Object.entries(EXPLORER_FOLDERS).map(([folder, below]) => ({
    name: `explorer-${folder}`,
    comment: `testing/explore/${folder} may import ${[folder, ...below].join(", ")}`,
    severity: "error",
    from: { path: `${TESTING}/explore/${folder}/`, pathNot: TESTS },
    to: {
      path: `${TESTING}/explore/`,
      pathNot: [folder, ...below].map((name) => `${TESTING}/explore/${name}/`),
    },
  })),
  {
    name: "core-harness-and-explorer",
    comment: "The explorer and the harness of cores drive the core alone: no runtime, storage or transport.",
    severity: "error",
    from: { path: `${TESTING}/(core|explore)/`, pathNot: TESTS },
    to: { path: `${SRC}/`, pathNot: [`${SRC}/core/`, `${TESTING}/(core|explore|model)/`] },
  },
  {
    name: "model-shares-no-code",
    comment: "The reference model knows the core's messages and actions, and none of its code.",
    severity: "error",
    from: { path: `${TESTING}/model/`, pathNot: TESTS },
    to: {
      path: `${SRC}/`,
      pathNot: [`${SRC}/core/(action|config|log|message|position|role)\\.ts$`, `${TESTING}/model/`],
    },
  },
];

export default {
  forbidden: [
    ...layerRules,
    ...kvRules,
    ...runtimeFolderRules,
    ...testingRules,
    {
      name: "runtime-entry-points",
      comment:
        "A folder of the runtime is imported through its index.ts alone; fuzzer and zoo reach the codecs.",
      severity: "error",
      from: { pathNot: [`${RUNTIME}/[^/]+/`, TESTS, "^scripts/(fuzz|zoo)/"] },
      to: { path: `${RUNTIME}/[^/]+/`, pathNot: [`${RUNTIME}/[^/]+/index\\.ts$`, TESTS] },
    },
    {
      name: "no-cycles",
      comment: "Two files that need each other are one file, or lack a third. Imports of types count.",
      severity: "error",
      from: {},
      to: { circular: true },
    },
    {
      name: "no-cycles-in-core",
      comment:
        "No import cycles, type imports included: each file of the core can be read after those that it imports.",
      severity: "error",
      from: { path: `${SRC}/core/` },
      to: { circular: true },
    },
    {
      name: "errors-at-the-bottom",
      comment: "src/errors.ts may import the core's types, and text-of-thrown.ts, which imports nothing.",
      severity: "error",
      from: { path: `${SRC}/errors\\.ts$` },
      to: { pathNot: [`${SRC}/core/`, `${SRC}/text-of-thrown\\.ts$`] },
    },
    {
      name: "log-events-at-the-bottom",
      comment: "src/log-event.ts may import the core's types.",
      severity: "error",
      from: { path: `${SRC}/log-event\\.ts$` },
      to: { pathNot: `${SRC}/core/` },
    },
    {
      name: "text-of-thrown-stands-alone",
      comment: "src/text-of-thrown.ts imports nothing.",
      severity: "error",
      from: { path: `${SRC}/text-of-thrown\\.ts$` },
      to: { path: ".*" },
    },
    {
      name: "core-stands-alone",
      comment: "The core runs in any JavaScript engine: no package, no module of Node.",
      severity: "error",
      from: { path: `${SRC}/core/`, pathNot: TESTS },
      to: { pathNot: `${SRC}/core/` },
    },
    {
      name: "node-behind-a-condition",
      comment:
        "The library bundles for browsers: modules of Node are imported by the platform's and the environment's files " +
        "for Node, and by the testing tools.",
      severity: "error",
      from: {
        path: SRC,
        pathNot: [TESTS, `${SRC}/(environment/node|testing)/`, `${SRC}/platform/node-platform\\.ts$`],
      },
      to: { dependencyTypes: ["core"] },
    },
    {
      name: "node-parts-by-name",
      comment:
        "Node's parts are imported as #platform and #node-environment, which a browser resolves to others.",
      severity: "error",
      from: { path: SRC, pathNot: [TESTS, `${SRC}/(environment/node|platform|testing)/`] },
      to: {
        path: [`${SRC}/environment/node/`, `${SRC}/platform/`],
        dependencyTypesNot: ["aliased-subpath-import"],
      },
    },
    {
      name: "library-without-dependencies",
      comment: "The library installs nothing but itself.",
      severity: "error",
      from: { path: SRC, pathNot: TESTS },
      to: { path: "node_modules" },
    },
    {
      name: "testing-only-in-tests",
      comment: "Suites and fault injection stay out of production code; an example may show them.",
      severity: "error",
      from: { pathNot: [TESTS, `${SRC}/testing/`, "^scripts/", "^examples/"] },
      to: { path: `${SRC}/testing/` },
    },
    {
      name: "no-tests-in-code",
      comment:
        "A test or a test's helper is imported by tests only. Two suites that attack a node are tests, run as programs.",
      severity: "error",
      from: { pathNot: [TESTS, "^scripts/(attack/|hostile[./])"] },
      to: { path: TESTS },
    },
    {
      name: "kv-uses-exports",
      comment: "The server uses what the package exports, like any other user.",
      severity: "error",
      from: { path: "^(packages/kv|examples)/" },
      to: { path: SRC, dependencyTypesNot: ["aliased-workspace", "undetermined"] },
    },
    {
      name: "library-knows-no-user",
      severity: "error",
      from: { path: SRC },
      to: { path: "^(packages/kv|examples|scripts)/" },
    },
    {
      name: "resolvable",
      comment: "An import that cannot be found.",
      severity: "error",
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: "declared",
      comment: "A package that is used is in package.json.",
      severity: "error",
      from: {},
      to: { dependencyTypes: ["npm-no-pkg", "npm-unknown"] },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    exclude: { path: "(^|/)dist/" },
    // What tests and tools need is declared once, at the root.
    combinedDependencies: true,
    // Types are dependencies too.
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.base.json" },
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["source", "import", "node", "default"],
      extensions: [".ts", ".mjs", ".js"],
    },
  },
};
