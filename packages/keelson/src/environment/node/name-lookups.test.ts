import { once } from "node:events";
import net, { type AddressInfo } from "node:net";

import { describe, expect, it } from "vitest";

import { NameLookups } from "./name-lookups.ts";

const ADDRESS = { address: "127.0.0.1", family: 4 };

/** A name service that answers when the test says so. */
function slowNameService() {
  const asked: {
    host: string;
    answer: (addresses: (typeof ADDRESS)[]) => void;
    fail: (error: Error) => void;
  }[] = [];
  let now = 0;
  const lookups = new NameLookups(
    (host) =>
      new Promise((answer, fail) => {
        asked.push({ host, answer, fail });
      }),
    () => now,
  );
  /** One attempt to connect. `end` gives it up, as the transport does after its time limit. */
  const attempt = (host: string) => {
    let isWanted = true;
    const found = new Promise<unknown>((resolve) => {
      lookups.forAttempt(() => isWanted)(host, { all: true }, (error, addresses) => {
        resolve(error ?? addresses);
      });
    });
    return {
      found,
      end: () => {
        isWanted = false;
      },
    };
  };
  const pass = (ms: number): void => {
    now += ms;
  };
  return { lookups, asked, attempt, pass };
}

describe("NameLookups", () => {
  it("lets an attempt join the lookup of an earlier one, which took longer than the time for a connection", async () => {
    const { asked, attempt } = slowNameService();
    const first = attempt("n2");
    first.end();
    const second = attempt("n2");
    expect(asked).toHaveLength(1);
    asked[0]?.answer([ADDRESS]);
    expect(await second.found).toEqual([ADDRESS]);
  });

  it("keeps an answer that comes between two attempts for the next one, and for that one only", async () => {
    const { asked, attempt } = slowNameService();
    const first = attempt("n2");
    first.end();
    asked[0]?.answer([ADDRESS]);
    await first.found;
    expect(await attempt("n2").found).toEqual([ADDRESS]);
    void attempt("n2");
    expect(asked).toHaveLength(2);
  });

  it("looks a name up again when the kept answer is old, and after an answer that was used", async () => {
    const { asked, attempt, pass } = slowNameService();
    const first = attempt("n2");
    first.end();
    asked[0]?.answer([ADDRESS]);
    await first.found;
    pass(3001);
    const second = attempt("n2");
    expect(asked).toHaveLength(2);
    asked[1]?.answer([ADDRESS]);
    await second.found;
    void attempt("n2");
    expect(asked).toHaveLength(3);
  });

  it("passes on an error to all who wait, and looks up again afterwards", async () => {
    const { asked, attempt } = slowNameService();
    const attempts = [attempt("n2"), attempt("n2")];
    const error = new Error("ENOTFOUND");
    asked[0]?.fail(error);
    expect(await Promise.all(attempts.map(({ found }) => found))).toEqual([error, error]);
    void attempt("n2");
    expect(asked).toHaveLength(2);
  });

  it("looks up different names independently", () => {
    const { asked, attempt } = slowNameService();
    void attempt("n2");
    void attempt("n3");
    expect(asked.map(({ host }) => host)).toEqual(["n2", "n3"]);
  });

  it("drops the answers for other names that are too old when it keeps another [Z18]", async () => {
    const { lookups, asked, attempt, pass } = slowNameService();
    for (let n = 0; n < 100; n++) {
      const given = attempt(`n${String(n)}`);
      given.end();
      asked[n]?.answer([ADDRESS]);
      await given.found;
      pass(1000);
    }
    expect(lookups.held).toEqual({ answers: 4, attempts: 0 });
  });

  it("holds only the attempts under way while a resolver never answers [Z18]", () => {
    const { lookups, asked, attempt } = slowNameService();
    for (let n = 0; n < 100; n++) attempt("n2").end();
    void attempt("n2");
    void attempt("n2");
    expect(lookups.held).toEqual({ answers: 0, attempts: 2 });
    expect(asked).toHaveLength(1);
  });

  it("works as the lookup of a socket", async () => {
    const server = net.createServer((socket) => socket.end()).listen(0, "127.0.0.1");
    await once(server, "listening");
    const lookups = new NameLookups(() => Promise.resolve([ADDRESS]));
    const { port } = server.address() as AddressInfo;
    for (const autoSelectFamily of [true, false]) {
      const socket = net.connect({
        ...{ host: "n2.example", port, autoSelectFamily },
        lookup: lookups.forAttempt(() => true),
      });
      await once(socket, "connect");
      socket.destroy();
    }
    server.close();
  });
});
