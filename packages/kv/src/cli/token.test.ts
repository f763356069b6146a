import { readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { expect, it } from "vitest";
import { readToken } from "../access/token-file.ts";
import { digestOf, parseTokens } from "../access/tokens.ts";
import { UsageError } from "../shared/errors.ts";
import { temporaryDirectory } from "../test/temporary.ts";
import { parseTokenOptions, token } from "./token.ts";

async function run(...args: string[]): Promise<string[]> {
  const options = parseTokenOptions(args);
  if (options === null) throw new Error("only the help was asked for");
  const lines: string[] = [];
  await token(options, (line) => void lines.push(line));
  return lines;
}

function modeOf(file: string): number {
  return statSync(file).mode & 0o777;
}

it("keelson token makes a token and adds its hash to the list, both only for their owner", async () => {
  const directory = temporaryDirectory();
  const [list, out, admin] = ["tokens", "a.token", "admin.token"].map((name) => path.join(directory, name));
  const [first] = await run("a", "read", "--tokens-file", list ?? "", "--out", out ?? "");
  const made = await readToken(out ?? "");
  expect(first).toBe(`${list}: a may read; the token is in ${out}`);
  writeFileSync(admin ?? "", "0123456789abcdef\n", { mode: 0o600 });
  await run("b", "operate", "--tokens-file", list ?? "", "--of", admin ?? "");
  const text = readFileSync(list ?? "", "utf8");
  expect(parseTokens(text, "list")).toEqual([
    { name: "a", role: "read", digest: digestOf(made) },
    { name: "b", role: "operate", digest: digestOf("0123456789abcdef") },
  ]);
  expect([text.includes(made), modeOf(list ?? ""), modeOf(out ?? "")]).toEqual([false, 0o600, 0o600]);
  await expect(run("a", "write", "--tokens-file", list ?? "", "--out", `${out}2`)).rejects.toThrow(
    /a second token is called a/,
  );
  await expect(run("c", "write", "--tokens-file", list ?? "", "--out", out ?? "")).rejects.toThrow(
    /is there already/,
  );
  expect(readFileSync(list ?? "", "utf8")).toBe(text);
});

it.each([
  [["a"], "ROLE is missing"],
  [["a", "root", "--tokens-file", "f"], 'ROLE "root" is not one of read, write, operate'],
  [["a b", "read", "--tokens-file", "f"], 'NAME "a b" is not 1 to 64 of A-Z a-z 0-9 . _ -'],
  [["a", "read"], "--tokens-file is missing"],
])("keelson token refuses %j and says what is wrong", (args, message) => {
  expect(() => parseTokenOptions(args)).toThrow(new UsageError(message));
});
