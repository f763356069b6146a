// A client of the bank (bank.ts) that repeats each request until it has an answer, at one node after another,
// and in a session, so that no request takes effect twice.
//
// Start the bank as bank.ts says. Then, with the addresses of some or all of its nodes:
//
//   node --conditions=source examples/bank-client.ts 127.0.0.1:8001 127.0.0.1:8002 127.0.0.1:8003
interface Reply {
  readonly status: number;
  readonly body: { readonly type?: string; readonly error?: string };
}

class BankClient {
  readonly #nodes: readonly string[];
  readonly #session: number;
  #number = 0;
  /** Whether a command is under way: the numbers of this client are used one after another. */
  #isBusy = false;

  constructor(nodes: readonly string[], session: number) {
    this.#nodes = nodes;
    this.#session = session;
  }

  /** Sends one command until its outcome is known, to one node after another. */
  async send(command: unknown): Promise<Reply> {
    if (this.#isBusy) throw new Error("await the previous command first");
    this.#isBusy = true;
    const body = JSON.stringify({ session: this.#session, number: ++this.#number, command });
    for (let attempt = 0; ; attempt++) {
      const reply = await this.#attempt(this.#nodes[attempt % this.#nodes.length] ?? "", body);
      if (reply !== null) {
        this.#isBusy = false;
        return reply;
      }
      await new Promise((resolve) => setTimeout(resolve, Math.min(100 * 2 ** attempt, 2_000)));
    }
  }

  /** One request; null: ask again. No answer, 503 and 504 all mean that a repetition is safe and useful. */
  async #attempt(node: string, body: string): Promise<Reply | null> {
    try {
      const signal = AbortSignal.timeout(15_000);
      const response = await fetch(`http://${node}/commands`, { method: "POST", body, signal });
      if (response.status === 503 || response.status === 504) return null;
      return { status: response.status, body: (await response.json()) as Reply["body"] };
    } catch {
      return null;
    }
  }
}

/** Opens a session at the first node that answers. */
async function openSession(nodes: readonly string[]): Promise<number> {
  for (let attempt = 0; ; attempt++) {
    try {
      const response = await fetch(`http://${nodes[attempt % nodes.length] ?? ""}/sessions`, {
        method: "POST",
      });
      if (response.status === 201) return ((await response.json()) as { session: number }).session;
    } catch {
      // No node there. A session that was opened unseen ends by itself.
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

const nodes = process.argv.slice(2);
if (nodes.length === 0) throw new Error("name at least one node of the bank: HOST:PORT...");
const client = new BankClient(nodes, await openSession(nodes));

const account = `cid-${Date.now()}`; // a new account each time
for (let time = 1; time <= 2; time++) {
  const { body } = await client.send({ type: "open", account, amount: 10 });
  console.log(JSON.stringify(body));
}
