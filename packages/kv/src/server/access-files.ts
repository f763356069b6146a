/** The files of tokens that a node was started with, as access rules that follow the files. */
import { Access, OPEN_RULES, type AccessRules } from "../access/access.ts";
import { tokenIn } from "../access/token-file.ts";
import { digestOf, parseTokens, Tokens } from "../access/tokens.ts";
import { StartError } from "../shared/errors.ts";
import { Reloader, type ReloadLog } from "../shared/reloader.ts";
import { readFileOf } from "../shared/secret-file.ts";
import type { ServerSettings } from "./server-settings.ts";

/** What the token of `adminTokenFile` is called in messages. */
const ADMIN_TOKEN_NAME = "admin-token";

type AccessSettings = Pick<ServerSettings, "adminOpen" | "adminTokenFile" | "tokensFile" | "reloadMs">;

/** Access rules, and the end of following their files. */
export interface FollowedAccess {
  readonly access: Access;
  readonly close: () => void;
}

/**
 * Reads the files, and follows them.
 *
 * @throws StartError they can't be used
 */
export async function openAccess(settings: AccessSettings, onLog: ReloadLog): Promise<FollowedAccess> {
  const { adminOpen, adminTokenFile, reloadMs } = settings;
  const tokensFile = settings.tokensFile ?? null;
  if (tokensFile === null && adminTokenFile === null) {
    const rules: AccessRules = adminOpen ? { ...OPEN_RULES, operators: "everyone" } : OPEN_RULES;
    return { access: new Access(rules), close: () => undefined };
  }
  const access = new Access();
  const files = [tokensFile, adminTokenFile].filter((file) => file !== null);
  const reloadable = {
    what: `the tokens in ${files.join(" and ")}`,
    read: () =>
      Promise.all(
        files.map((file) => readFileOf(file, tokensFile === file ? "the list of tokens" : "the token")),
      ),
    use: (contents: readonly string[]) => {
      access.replace(rulesOf(tokensFile, adminTokenFile, contents));
    },
  };
  const reloader = await Reloader.start(reloadable, onLog, reloadMs);
  return {
    access,
    close: () => {
      reloader.close();
    },
  };
}

/** `contents`: of the files that aren't null, in this order. */
function rulesOf(
  tokensFile: string | null,
  adminTokenFile: string | null,
  contents: readonly string[],
): AccessRules {
  const entries = tokensFile === null ? [] : parseTokens(contents[0] ?? "", tokensFile);
  if (tokensFile !== null && entries.length === 0)
    throw new StartError(
      `${tokensFile} holds no token, so no client could be served; keelson token adds one`,
    );
  const ofAdmin = adminTokenFile === null ? null : digestOf(tokenIn(contents.at(-1) ?? "", adminTokenFile));
  // If the list has the same token, its entry there counts for less: the file of operators was named for it.
  const others = entries.filter(({ digest }) => ofAdmin === null || !digest.equals(ofAdmin));
  const admin =
    ofAdmin === null ? [] : [{ name: ADMIN_TOKEN_NAME, role: "operate" as const, digest: ofAdmin }];
  return {
    tokens: new Tokens([...others, ...admin]),
    clients: tokensFile === null ? "everyone" : "token",
    operators: "token",
  };
}
