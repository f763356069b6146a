import { renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { digestOf, formatEntry, newToken } from "../access/tokens.ts";
import { temporaryDirectory } from "../test/temporary.ts";
import { openAccess } from "./access-files.ts";
import { exposuresOf, isRemote } from "./exposure.ts";

const [ADMIN, READER] = [newToken(), newToken()];
const NO_FILES = { adminOpen: false, adminTokenFile: null };
const entry = { name: "reader", role: "read", digest: digestOf(READER) } as const;

function writer(): (name: string, text: string, mode?: number) => string {
  const directory = temporaryDirectory();
  return (name, text, mode = 0o600) => {
    const file = path.join(directory, name);
    writeFileSync(`${file}.new`, text, { mode });
    renameSync(`${file}.new`, file);
    return file;
  };
}

describe("the files of tokens", () => {
  it("restrict operators if there is only the operators' token, and everyone if there is a list", async () => {
    const write = writer();
    const adminTokenFile = write("admin", ADMIN);
    const open = await openAccess({ ...NO_FILES, adminTokenFile }, () => undefined);
    expect([open.access.judge(null, "write").type, open.access.judge(null, "operate").type]).toEqual([
      "allowed",
      "refused",
    ]);
    const tokensFile = write("tokens", formatEntry(entry));
    const both = await openAccess({ ...NO_FILES, adminTokenFile, tokensFile }, () => undefined);
    onTestFinished(() => {
      open.close();
      both.close();
    });
    expect(both.access.judge(null, "read").type).toBe("refused");
    expect(both.access.findToken(READER)?.role).toBe("read");
    expect([open, both].map(({ access }) => access.findToken(ADMIN)?.role)).toEqual(["operate", "operate"]);
  });

  it("are followed: a changed list counts, and one with a mistake is logged and doesn't", async () => {
    const write = writer();
    const log: string[] = [];
    const tokensFile = write("tokens", formatEntry(entry));
    const settings = { ...NO_FILES, tokensFile, reloadMs: 10 };
    const { access, close } = await openAccess(settings, (_, text) => log.push(text));
    onTestFinished(close);
    for (const [text, mode, reason] of [
      [`reader ${READER}\n`, 0o600, "line 1: it should be NAME ROLE"],
      ["", 0o600, "holds no token, so no client could be served"],
      [formatEntry(entry), 0o666, "is open to other users of this machine"],
    ] as const) {
      write("tokens", text, mode);
      await vi.waitFor(() => {
        expect(log.at(-1)).toContain(reason);
      });
      expect(access.findToken(READER)).not.toBeNull();
    }
    expect(log.join()).not.toContain(READER);
    write("tokens", formatEntry({ ...entry, digest: digestOf(ADMIN) }));
    await vi.waitFor(() => {
      expect(access.findToken(READER)).toBeNull();
    });
    expect(access.findToken(ADMIN)?.name).toBe("reader");
  });

  it.each([0o604, 0o640, 0o620, 0o602, 0o601])(
    "may have the mode %o only if others have no part in it",
    async (mode) => {
      const adminTokenFile = writer()("admin", ADMIN);
      const { chmod } = await import("node:fs/promises");
      await chmod(adminTokenFile, mode);
      const opened = openAccess({ ...NO_FILES, adminTokenFile }, () => undefined);
      if (mode === 0o640) (await opened).close();
      else
        await expect(opened).rejects.toThrow(
          /is open to other users of this machine \(mode 6\d\d\): chmod 600/,
        );
    },
  );
});

describe("a client port in reach of other machines", () => {
  const at = (host: string) => ({
    ...{ line: { host, port: 1 }, http: { host: "127.0.0.1", port: 2 } },
    ...NO_FILES,
  });
  const tls = { cert: "c", key: "k", clientCa: null };

  it("is warned about without tokens or certificates, and without TLS", () => {
    expect(exposuresOf(at("127.0.0.1"))).toEqual([]);
    const [rights, clear] = exposuresOf(at("0.0.0.0"));
    expect(rights).toMatch(
      /can reach the line port at 0.0.0.0:1, and whoever does may read and write all keys/,
    );
    expect(clear).toMatch(/without TLS: whoever can read the network/);
    expect(exposuresOf({ ...at("10.0.0.1"), tokensFile: "t" })).toEqual([
      expect.stringContaining("without TLS"),
    ]);
    expect(exposuresOf({ ...at("db1"), tls })).toEqual([expect.stringContaining("read and write all keys")]);
    expect(exposuresOf({ ...at("::"), tls, tokensFile: "t" })).toEqual([]);
    expect(exposuresOf({ ...at("::"), tls: { ...tls, clientCa: "a" } })).toEqual([]);
    const open = { ...at("0.0.0.0"), http: { host: "0.0.0.0", port: 2 }, adminOpen: true };
    expect(exposuresOf(open).join()).toContain("--admin-open");
  });

  it.each([
    ["127.0.0.1", false],
    ["127.9.9.9", false],
    ["::1", false],
    ["localhost", false],
    ["n1.localhost", false],
    ["0.0.0.0", true],
    ["::", true],
    ["10.0.0.1", true],
    ["db1.example", true],
    ["localhost.example", true],
  ])("is one at %s: %s", (host, expected) => {
    expect(isRemote({ host, port: 1 })).toBe(expected);
  });
});
