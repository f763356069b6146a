// Compiles a user's program (`program.ts`) against the packed declarations of `keelson`, with the compiler
// settings that users have: older targets, no `lib` of their own, a bundler's resolution, and the settings of
// the guide.
import { copyFile, readFile, writeFile } from "node:fs/promises";
import path from "node:path";

/** Declaration files are checked too, and the options are as strict as users may have them. */
const EVERYWHERE = {
  ...{ strict: true, exactOptionalPropertyTypes: true, skipLibCheck: false, noEmit: true },
};

/** The settings, by what a user would call them. `types: []` is the compiler's default: no types of Node. */
const SETTINGS: Readonly<Record<string, object>> = {
  "target es2022, no lib, no types of Node": { module: "nodenext", target: "es2022", types: [] },
  "target es2024, no lib": { module: "nodenext", target: "es2024", types: ["node"] },
  "a bundler, lib es2024": {
    ...{ module: "esnext", moduleResolution: "bundler", target: "es2024" },
    ...{ lib: ["es2024"], types: ["node"] },
  },
};

/** The guide's page on installing, whose `tsconfig.json` is compiled with as well. */
const INSTALL_PAGE = "docs/guide/getting-started.md";

/**
 * Compiles the program with each setting. `user`: a folder with the package in its `node_modules`. `must`
 * runs a command and throws, with its output, if it fails. Returns the settings' names.
 */
export async function compileAsUsers(
  root: string,
  user: string,
  must: (command: string, args: readonly string[]) => Promise<unknown>,
): Promise<readonly string[]> {
  const file = "user.mts";
  await copyFile(path.join(import.meta.dirname, "program.ts"), path.join(user, file));
  const page = await readFile(path.join(root, INSTALL_PAGE), "utf8");
  const settings = { ...SETTINGS, [`the settings of ${INSTALL_PAGE}`]: compilerOptionsIn(page) };
  for (const [name, options] of Object.entries(settings)) {
    const typeRoots = [path.join(root, "node_modules", "@types")];
    const compilerOptions = { ...EVERYWHERE, ...options, typeRoots };
    const project = path.join(user, "tsconfig.user.json");
    await writeFile(project, JSON.stringify({ compilerOptions, files: [file] }));
    try {
      await must("tsc", ["-p", project]);
    } catch (error) {
      throw new Error(`the declarations don't compile with ${name}`, { cause: error });
    }
  }
  return Object.keys(settings);
}

/** The compiler options of the only `tsconfig.json` on a page. */
function compilerOptionsIn(markdown: string): object {
  const blocks = [...markdown.matchAll(/^```json\n(.*?)^```$/gms)].map(
    ([, text = ""]) => JSON.parse(text) as { readonly compilerOptions?: object },
  );
  const [options, ...others] = blocks.flatMap(({ compilerOptions }) => compilerOptions ?? []);
  if (options === undefined || others.length > 0)
    throw new Error(`${INSTALL_PAGE} must show one tsconfig.json`);
  return options;
}
