// What the runtime takes from Node's environment, under the name "#node-environment". package.json names
// ../web/no-node.ts under that name for browsers.
export { nodeEnvironment } from "./node-environment.ts";
export { programDirectory } from "./program-directory.ts";
