import { createServer, type IncomingMessage } from "node:http";
import { createServer as createTcpServer, type AddressInfo } from "node:net";
import { describe, expect, it, onTestFinished } from "vitest";
import { runAdminCommand } from "./admin.ts";
import { ADMIN_COMMANDS, ADMIN_HELP, parseAdminOptions, type AdminOptions } from "./admin-options.ts";
import { UsageError } from "../shared/errors.ts";

/** What a node answers to a request. */
type Script = (
  method: string,
  url: string,
  body: string,
) => readonly [status: number, body: object, location?: string];

async function nodeThat(script: Script): Promise<{ address: string; asked: string[] }> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    void bodyOf(request).then((body) => {
      const { method = "", url = "" } = request;
      asked.push(`${method} ${url} ${body}`.trim());
      const [status, answer, location] = script(method, url, body);
      response.writeHead(status, location === undefined ? {} : { Location: location });
      response.end(JSON.stringify(answer));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let body = "";
  for await (const chunk of request) body += String(chunk);
  return body;
}

function members(roles: Readonly<Record<string, string>>, changes: object = {}): object {
  return {
    ...{ id: "n1", clusterId: "c", role: "leader", term: 1, leader: { id: "n1" }, changing: false },
    members: Object.entries(roles).map(([id, role]) => ({
      ...{ id, role, address: `${id}:1`, lag: 3, active: id !== "n9" },
    })),
    ...changes,
  };
}

function failure(code: string, outcome: string, message: string): object {
  return { error: { code, message, outcome } };
}

async function run(nodes: string, command: AdminOptions["command"], ...args: string[]): Promise<string[]> {
  const options = parseAdminOptions(command, [...args, "--url", nodes]);
  if (options === null) throw new Error("only the help was asked for");
  const lines: string[] = [];
  await runAdminCommand(options, (line) => void lines.push(line));
  return lines;
}

describe("the commands that ask a cluster", () => {
  it("print the members as the leader sees them, whichever node is asked", async () => {
    const leader = await nodeThat(() => [200, members({ n1: "voter", n9: "learner" })]);
    const other = await nodeThat(() => [
      200,
      members({ n1: "voter" }, { id: "n2", role: "follower", leader: { id: "n1", http: leader.address } }),
    ]);
    expect(await run(other.address, "members")).toEqual([
      "MEMBER  ROLE     ADDRESS",
      "n1 *    voter    n1:1       3 entries behind",
      "n9      learner  n9:1       3 entries behind  does not answer at n9:1",
    ]);
  });

  it("say of a learner that never answered what to check: it may be a node of another cluster (Z21)", async () => {
    const added = { id: "n9", role: "learner", address: "n9:1", lag: 3, active: false };
    const view = { ...members({ n1: "voter" }), members: [{ ...added, match: 0 }] };
    const { address } = await nodeThat(() => [200, view]);
    expect((await run(address, "members"))[1]).toBe(
      "n9      learner  n9:1       3 entries behind  has not answered its leader yet at n9:1: check that it runs " +
        "there, and is a new node or of this cluster; the leader's log says why it can't be reached",
    );
    const { address: other } = await nodeThat(() => [200, { ...view, members: [{ ...added, match: 7 }] }]);
    expect((await run(other, "members"))[1]).toMatch(/does not answer at n9:1$/);
  });

  it("print what one node knows when there is no leader, and skip a node that doesn't answer", async () => {
    const lost = members({ n1: "voter" }, { id: "n2", role: "follower", leader: null, changing: true });
    const other = await nodeThat(() => [200, lost]);
    expect(await run(`127.0.0.1:2,${other.address}`, "members")).toEqual([
      "MEMBER  ROLE   ADDRESS",
      "n1      voter  n1:1       3 entries behind",
      "A change of members is under way.",
      "This is what n2 knows: no leader is known.",
    ]);
  });

  it("repeat adding a member while it catches up, on a conflicting change, and after unknown outcomes", async () => {
    const answers = [
      [503, failure("CATCH_UP_TIMEOUT", "not-done", "not yet")],
      [504, failure("OUTCOME_UNKNOWN", "unknown", "the leader is gone")],
      [409, failure("CHANGE_REFUSED", "not-done", "another change is under way")],
      [200, {}],
    ] as const;
    let posts = 0;
    const { address, asked } = await nodeThat((method) => {
      if (method === "GET") {
        const role = posts === 4 ? "voter" : posts > 0 ? "learner" : null;
        return [200, members(role === null ? { n1: "voter" } : { n1: "voter", n4: role })];
      }
      posts += 1;
      return answers[posts - 1] ?? [500, {}];
    });
    const lines = await run(address, "add", "n4", "n4:1");
    expect(lines.at(-1)).toMatch(/^n4 +voter/);
    const post = 'POST /members {"add":{"n4":"n4:1"},"timeoutMs":2000}';
    expect(asked.filter((one) => one.startsWith("POST"))).toEqual([post, post, post, post]);
  });

  it("move a member, and look until the leader knows its new address", async () => {
    const { address, asked } = await nodeThat((method) => {
      const isMoved = asked.some((one) => one.startsWith("POST"));
      if (method !== "GET") return [504, failure("OUTCOME_UNKNOWN", "unknown", "the leader is gone")];
      const before = members({ n1: "voter", n4: "learner" });
      return [200, isMoved ? (JSON.parse(JSON.stringify(before).replace("n4:1", "n4:2")) as object) : before];
    });
    const lines = await run(address, "move", "n4", "n4:2");
    expect(lines.at(-1)).toMatch(/^n4 +learner +n4:2/);
    expect(asked.filter((one) => one.startsWith("POST"))).toEqual([
      'POST /members {"addresses":{"n4":"n4:2"},"timeoutMs":2000}',
    ]);
  });

  it("don't repeat a request that is refused for good, and print the reason", async () => {
    const { address, asked } = await nodeThat((method) =>
      method === "GET"
        ? [200, members({ n1: "voter" })]
        : [400, failure("INVALID_OPTION", "not-done", "n9 is not a member; the members are n1")],
    );
    await expect(run(address, "remove", "n9")).rejects.toThrow("n9 is not a member; the members are n1");
    expect(asked.filter((one) => one.startsWith("POST"))).toHaveLength(1);
  });

  it("treat a member as removed when it's missing after a request with an unknown outcome", async () => {
    let posts = 0;
    const { address } = await nodeThat((method) => {
      if (method === "GET")
        return [200, members(posts === 0 ? { n1: "voter", n2: "voter" } : { n2: "voter" })];
      posts += 1;
      return [504, failure("OUTCOME_UNKNOWN", "unknown", "this node stopped leading")];
    });
    expect(await run(address, "remove", "n1")).toHaveLength(2);
    expect(posts).toBe(1);
  });

  it("give up after --timeout, and print what the change waited for", async () => {
    const { address } = await nodeThat((method) =>
      method === "GET"
        ? [200, members({ n1: "voter", n4: "learner" })]
        : [503, failure("CATCH_UP_TIMEOUT", "not-done", "n4 is not there yet")],
    );
    await expect(run(address, "promote", "n4", "--timeout", "1")).rejects.toThrow(
      "not done within 1 s: n4 is a learner, 3 entries behind (n4 is not there yet)",
    );
  });

  it("give up after --timeout when the cluster agrees each time but nothing changes", async () => {
    const { address, asked } = await nodeThat(() => [200, members({ n1: "voter", n4: "learner" })]);
    await expect(run(address, "promote", "n4", "--timeout", "1")).rejects.toThrow(/^not done within 1 s/);
    // It pauses between requests.
    expect(asked.length).toBeLessThan(30);
  });

  it.each([
    ["a voter as a learner", ["n2", "n2:1", "--learner"], /^n2 is a member already, and not a learner/],
    ["a voter at another address", ["n2", "n4:1"], /^n2 is a member already, at n2:1. Give the new node/],
    ["a learner that answers at another address", ["n3", "n4:1"], /^n3 is a member already, at n3:1/],
  ])("don't add %s", async (_what, args, message) => {
    const { address, asked } = await nodeThat(() => [
      200,
      members({ n1: "voter", n2: "voter", n3: "learner" }),
    ]);
    await expect(run(address, "add", ...args)).rejects.toThrow(message);
    expect(asked).toEqual(["GET /members"]);
  });

  it("add a learner that never answered at another address", async () => {
    let isMoved = false;
    const { address } = await nodeThat((method, _url, body) => {
      if (method === "POST") isMoved = body.includes('"n9:2"');
      const moved = { id: "n9", role: "learner", address: "n9:2", lag: 0, active: true };
      return [200, isMoved ? members({}, { members: [moved] }) : members({ n1: "voter", n9: "learner" })];
    });
    expect(await run(address, "add", "n9", "n9:2", "--learner")).toHaveLength(2);
  });

  it("send no transfer to a node that leads already", async () => {
    const { address, asked } = await nodeThat(() => [200, members({ n1: "voter" })]);
    expect(await run(address, "transfer", "n1")).toEqual(["the leader is n1"]);
    expect(asked).toEqual(["GET /members"]);
  });

  it("print why a node can't be reached", async () => {
    await expect(run("127.0.0.1:2", "members")).rejects.toThrow(/^127.0.0.1:2 cannot be reached: nothing/);
    const line = createTcpServer((socket) => socket.end("Error: what is that?\n"));
    await new Promise<void>((resolve) => line.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => void line.close());
    const { port } = line.address() as AddressInfo;
    await expect(run(`127.0.0.1:${port}`, "members")).rejects.toThrow(
      /what listens there does not speak HTTP/,
    );
  });

  it("follow redirects to the leader, but only a few", async () => {
    const leader = await nodeThat(() => [200, { leader: "n2" }]);
    const follower = await nodeThat((_method, url) => [307, {}, `http://${leader.address}${url}`]);
    expect(await run(follower.address, "transfer")).toEqual(["the leader is n2"]);
    expect(leader.asked).toEqual(["POST /transfer {}"]);
    const lost: { address: string; asked: string[] } = await nodeThat((_method, url) => [
      307,
      failure("NOT_LEADER", "not-done", "the leader is n3"),
      `http://${lost.address}${url}`,
    ]);
    await expect(run(lost.address, "transfer", "n2")).rejects.toThrow("the leader is n3");
    expect(lost.asked.filter((one) => one.startsWith("POST"))).toHaveLength(4);
  });

  it.each([
    ["members", ["n1"], '"n1" is one word too many'],
    ["add", ["n4"], "ADDRESS is missing"],
    ["add", ["n4", "7001"], '"7001" is not HOST:PORT, such as 10.0.0.4:7001'],
    ["add", ["n4", "h:1", "h:2"], '"h:2" is one word too many'],
    ["remove", [], "ID is missing"],
    ["transfer", ["n1", "n2"], '"n2" is one word too many'],
    ["promote", ["n1", "--timeout", "soon"], '--timeout "soon" is not a number of seconds from 1 to 86400'],
    [
      "members",
      ["--url", "n1"],
      '--url: "n1" is not http://HOST:PORT or https://HOST:PORT, such as http://127.0.0.1:9001',
    ],
  ] as const)("refuse %s %j and say what is wrong", (command, args, message) => {
    expect(() => parseAdminOptions(command, args)).toThrow(new UsageError(message));
  });

  it("refuse flags of other commands", () => {
    expect(() => parseAdminOptions("members", ["--learner"])).toThrow(/Unknown option '--learner'/);
    expect(() => parseAdminOptions("transfer", ["--timeout", "5"])).toThrow(/Unknown option '--timeout'/);
  });

  it("each have their own help", () => {
    for (const command of ADMIN_COMMANDS) {
      expect(parseAdminOptions(command, ["--help"])).toBeNull();
      expect(ADMIN_HELP[command]).toContain(`Usage: keelson ${command}`);
    }
  });
});
