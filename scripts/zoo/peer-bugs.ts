import type { Bug } from "./bug.ts";

/** Bugs by which an attacker gets past the certificates or the secret between nodes. */
export const PEER_BUGS: readonly Bug[] = [
  {
    code: "Z17c",
    title: "A node with a certificate may say that it is another node",
    file: "transport/tcp/incoming-connection.ts",
    from: "return reason === null ? null : refusalOfStranger(reason);",
    to: "return reason === null ? null : null;",
    finder: "peer suite",
  },
  {
    code: "Z17d",
    title: "The proof of a secret doesn't depend on the accepting node's random number",
    file: "transport/tcp/secret-connection.ts",
    from: "return hmacSha256(secret, label, ...nonces);",
    to: "return hmacSha256(secret, label, ...nonces.slice(0, 1));",
    finder: "peer suite",
  },
  {
    code: "Z17e",
    title: "The authentication of a record is the same for each time that it is sent",
    file: "transport/tcp/secret-connection.ts",
    from: "    this.#number++;\n",
    to: "",
    finder: "peer suite",
  },
];
