// What the compiler cannot see: promises that nobody waits for, and code that reaches past its layer to
// the clock, to chance, to the disk or to the network.
import { defineConfig, globalIgnores } from "eslint/config";
import tseslint from "typescript-eslint";

const TESTS = ["**/*.test.ts", "**/test/**/*.ts"];

/** Globals that hide time, chance or I/O. */
const TIME_AND_IO = [
  "Date",
  "performance",
  "setTimeout",
  "setInterval",
  "setImmediate",
  "clearTimeout",
  "clearInterval",
  "clearImmediate",
  "process",
  "crypto",
  "fetch",
  "console",
];

const WORLD = "Use `Environment`: only src/environment/ touches the world.";
const BROWSERS = "The library must bundle for browsers: use `#platform`, or what every runtime has.";

/** No modules of Node: some touch the world, and none is there in a browser. */
const NO_NODE_MODULES = ["error", { patterns: [{ regex: "^node:", message: `${BROWSERS} ${WORLD}` }] }];

const noTimeNorChance = (globals, why) => ({
  "no-restricted-globals": ["error", ...globals.map((name) => ({ name, message: why }))],
  "no-restricted-properties": [
    "error",
    { object: "Math", property: "random", message: why },
    { object: "AbortSignal", property: "timeout", message: why },
    ...["Date", "performance", "process", "crypto", "setTimeout", "setInterval", "setImmediate"].map(
      (property) => ({ object: "globalThis", property, message: why }),
    ),
  ],
});

export default defineConfig(
  globalIgnores(["**/dist/", "**/node_modules/", "coverage/", "reports/", "data/", "site/"]),
  {
    files: ["**/*.ts", "**/*.mjs"],
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      eqeqeq: "error",
      "prefer-const": "error",
      "no-var": "error",
      "object-shorthand": "error",
      "no-fallthrough": "error",
      "no-unreachable": "error",
      "no-constant-binary-expression": "error",
      "no-self-compare": "error",
      "no-template-curly-in-string": "error",
      "no-unsafe-finally": "error",
      "no-restricted-exports": ["error", { restrictDefaultExports: { direct: false, named: true } }],
    },
  },
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/no-import-type-side-effects": "error",
      "@typescript-eslint/switch-exhaustiveness-check": [
        "error",
        { considerDefaultExhaustiveForUnions: true },
      ],
      // Numbers and booleans have one text each; objects and undefined are what the rule is for.
      "@typescript-eslint/restrict-template-expressions": [
        "error",
        { allowNumber: true, allowBoolean: true },
      ],
      "@typescript-eslint/restrict-plus-operands": ["error", { allowNumberAndString: true }],
      // `() => this.close()` reads well and does no harm.
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
      // A method that is `async` for the sake of its interface turns a throw into a rejection: wanted.
      "@typescript-eslint/require-await": "off",
      "@typescript-eslint/no-unnecessary-condition": [
        "error",
        { allowConstantLoopConditions: "only-allowed-literals" },
      ],
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
    },
  },
  {
    // The core touches nothing but its arguments (ARCHITECTURE.md, "The core").
    files: ["packages/keelson/src/core/**/*.ts"],
    ignores: TESTS,
    rules: {
      ...noTimeNorChance(
        [...TIME_AND_IO, "Buffer", "queueMicrotask", "globalThis", "structuredClone"],
        "The core is deterministic and does no I/O: the caller passes the time and the chance.",
      ),
      "no-restricted-imports": [
        "error",
        { patterns: [{ regex: "^(?!\\./)", message: "The core imports nothing but the core." }] },
      ],
      "no-restricted-syntax": [
        "error",
        {
          selector: ":function[async=true], AwaitExpression, NewExpression[callee.name='Promise']",
          message: "The core is synchronous.",
        },
      ],
    },
  },
  {
    // All but the environment reaches the world through `Environment`, so that it can be simulated.
    files: ["packages/keelson/src/**/*.ts"],
    ignores: [
      ...["core", "environment", "platform"].map((folder) => `packages/keelson/src/${folder}/**`),
      ...TESTS,
    ],
    rules: {
      ...noTimeNorChance([...TIME_AND_IO, "Buffer"], `${WORLD} ${BROWSERS}`),
      "no-restricted-imports": NO_NODE_MODULES,
    },
  },
  {
    // What a browser is given in place of Node's parts.
    files: ["packages/keelson/src/environment/web/**/*.ts", "packages/keelson/src/platform/web-platform.ts"],
    ignores: TESTS,
    rules: {
      "no-restricted-globals": [
        "error",
        ...["Buffer", "process", "setImmediate"].map((name) => ({ name, message: BROWSERS })),
      ],
      "no-restricted-imports": NO_NODE_MODULES,
    },
  },
  {
    // The testing tools run on Node. The conformance suites throw assertions, so that they run under any test
    // runner.
    files: ["packages/keelson/src/testing/**/*.ts"],
    ignores: TESTS,
    rules: {
      ...noTimeNorChance(TIME_AND_IO, WORLD),
      "no-restricted-imports": [
        "error",
        {
          paths: [
            {
              name: "node:crypto",
              allowImportNames: ["createHash"],
              message: "Only hashing; chance comes from `Environment`.",
            },
            { name: "node:zlib", allowImportNames: ["crc32"], message: "Only crc32." },
          ],
          patterns: [{ regex: "^node:(?!crypto$|zlib$|assert$|assert/strict$)", message: WORLD }],
        },
      ],
    },
  },
  {
    // The server is the library's user: it takes what the package exports and nothing else.
    files: ["packages/kv/**/*.ts", "examples/**/*.ts"],
    rules: {
      "no-restricted-imports": [
        "error",
        {
          patterns: [
            { regex: "keelson/(src|dist)/", message: 'Import from the package\'s exports: "keelson/...".' },
          ],
        },
      ],
    },
  },
  {
    // Bugs are put back by replacing text of the source, which holds templates.
    files: ["scripts/zoo/**/*.ts"],
    rules: { "no-template-curly-in-string": "off" },
  },
  {
    files: TESTS,
    rules: {
      // In a test a wrong `!` fails the test, which is what tests are for.
      "@typescript-eslint/no-non-null-assertion": "off",
      // Stubs.
      "@typescript-eslint/no-empty-function": "off",
      "@typescript-eslint/unbound-method": "off",
    },
  },
);
