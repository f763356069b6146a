// `npm run site`: the documents and the reference of every export, as one site in `site/`. Fails on each
// warning, each export without a doc comment, and each link that leads nowhere.
import { glob, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { Application, ConsoleLogger, LogLevel, type ProjectReflection } from "typedoc";

import { deadLinks } from "./site/links.ts";
import { stagePages, START } from "./site/pages.ts";
import { writeSources } from "./site/sources.ts";

const root = path.join(import.meta.dirname, "..");
/** Within the repository, so that the packages' names resolve. */
const staged = path.join(root, "node_modules", ".cache", "site");
const site = path.join(root, "site");

/** The folders of the packages whose exports are in the reference. */
const PACKAGES = new Map([
  ["keelson", "packages/keelson"],
  ["keelson-kv", "packages/kv"],
]);
/** What TypeDoc checks. */
const CHECKS = {
  notExported: false, // see `validate`
  invalidLink: true,
  invalidPath: true,
  rewrittenLink: true,
  notDocumented: true,
  unusedMergeModuleWith: true,
};

/** Types that exported ones name and that readers need nothing of. */
const NOT_FOR_READERS = new Map([
  [
    "keelson",
    [
      // What a `Role` is made of.
      "RoleState",
      // What is in a `NodeImage`: to be captured and given back as it is.
      ...["AppendInFlight", "Following", "PendingActionsImage", "ReadIndexRequestsImage", "RoleImage"],
      // What a `Session` and a `MemoryNetwork` use within the library.
      ...["MemoryTransport", "SessionHost"],
    ],
  ],
]);

/**
 * TypeDoc looks for an anchor among the headings only. `deadLinks` also knows the anchors that a page sets
 * itself, and checks all links.
 */
const KNOWN_BETTER = /links to .* but the anchor does not exist/;

class SiteLogger extends ConsoleLogger {
  override log(...[message, level]: Parameters<ConsoleLogger["log"]>): void {
    if (!KNOWN_BETTER.test(message)) super.log(message, level);
  }
}

/** The source files behind the packages' exports, by the name under which users import them. */
async function entryPoints(): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for (const [name, folder] of PACKAGES) {
    const { exports } = JSON.parse(await readFile(path.join(root, folder, "package.json"), "utf8")) as {
      exports: Record<string, string | { source: string }>;
    };
    for (const [entry, target] of Object.entries(exports)) {
      if (typeof target !== "string")
        files.set(name + entry.slice(1), path.join(root, folder, target.source));
    }
  }
  return files;
}

/** Names each module as in an import. TypeDoc names it by its folder. */
function nameModules(project: ProjectReflection, entries: ReadonlyMap<string, string>): void {
  for (const [name, file] of entries) {
    const folder = path.relative(root, path.dirname(file));
    const module = project.children?.find((child) => child.name === folder);
    if (module === undefined) throw new Error(`the site has no module for ${folder}`);
    module.name = name;
  }
}

/**
 * Checks what TypeDoc has understood. It looks for types that aren't exported in one package only, the one
 * that it takes the project for. So it is told each of ours in turn.
 */
function validate(app: Application, project: ProjectReflection): void {
  app.validate(project);
  const workspace = project.packageName;
  const others = Object.fromEntries(Object.keys(CHECKS).map((check) => [check, false]));
  app.options.setValue("validation", { ...others, notExported: true });
  for (const name of PACKAGES.keys()) {
    project.packageName = name;
    app.options.setValue("intentionallyNotExported", NOT_FOR_READERS.get(name) ?? []);
    app.validate(project);
  }
  if (workspace === undefined) delete project.packageName;
  else project.packageName = workspace;
}

async function build(): Promise<boolean> {
  await rm(staged, { recursive: true, force: true });
  await mkdir(staged, { recursive: true });
  const documents = await stagePages(root, staged);
  const entries = await entryPoints();
  const tsconfig = path.join(staged, "tsconfig.json");
  await writeFile(
    tsconfig,
    JSON.stringify({
      extends: path.join(root, "tsconfig.base.json"),
      compilerOptions: {
        noEmit: true,
        composite: false,
        types: ["node"],
        typeRoots: [path.join(root, "node_modules", "@types")],
      },
      files: [...entries.values()],
    }),
  );
  const app = await Application.bootstrap({
    name: "Keelson",
    entryPoints: [...entries.values()],
    tsconfig,
    basePath: root,
    displayBasePath: root,
    readme: path.join(staged, START),
    projectDocuments: documents,
    // `npm run types` does it.
    skipErrorChecking: true,
    validation: CHECKS,
    packagesRequiringDocumentation: [...PACKAGES.keys()],
    // Not properties: many say everything by their name and type.
    requiredToBeDocumented: [
      ...(["Enum", "EnumMember", "Variable", "Function", "Class", "Interface", "TypeAlias"] as const),
      ...(["Method", "Accessor"] as const),
    ],
    excludePrivate: true,
    excludeInternal: true,
    includeHierarchySummary: false,
    githubPages: false,
    hideGenerator: true,
    // A block in a language that isn't listed is a warning.
    highlightLanguages: ["console", "diff", "dockerfile", "js", "json", "sh", "ts", "yaml"],
    sort: ["source-order"],
    navigation: { includeGroups: true, includeCategories: false },
  });
  app.logger = new SiteLogger();
  app.logger.level = LogLevel.Warn;
  const project = await app.convert();
  if (project === undefined) return false;
  nameModules(project, entries);
  validate(app, project);
  await app.generateDocs(project, site);
  return !app.logger.hasErrors() && !app.logger.hasWarnings();
}

const started = performance.now();
await rm(site, { recursive: true, force: true });
const isClean = await build();
const html = new Map<string, string>();
for await (const name of glob("**/*.html", { cwd: site })) {
  html.set(name, await readFile(path.join(site, name), "utf8"));
}
await writeSources(root, site, html);
const dead = deadLinks(site, html);
for (const problem of dead) console.error(problem);
const seconds = ((performance.now() - started) / 1000).toFixed(1);
console.log(`${html.size} pages in ${path.relative(root, site)}, ${dead.length} dead links (${seconds} s)`);
process.exitCode = isClean && html.size > 0 && dead.length === 0 ? 0 : 1;
