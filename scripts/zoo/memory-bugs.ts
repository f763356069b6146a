import type { Bug } from "./bug.ts";

/** Bugs by which others make a node hold more memory than its limits allow. */
export const MEMORY_BUGS: readonly Bug[] = [
  {
    code: "Z18",
    title: "The limit on what waits for one peer counts its bytes, and not what each write holds besides",
    file: "transport/tcp/outgoing-connection.ts",
    from: "connection.heldBytes;",
    to: "connection.bufferedBytes;",
    finder: "memory suite",
  },
  {
    code: "Z18b",
    title: "A stranger may begin a frame of any size before its handshake",
    file: "transport/tcp/framed-connection.ts",
    from: "new FrameReader(HANDSHAKE_BYTES_MAX);",
    to: "new FrameReader(HANDSHAKE_BYTES_MAX * HANDSHAKE_BYTES_MAX);",
    finder: "memory suite",
  },
  {
    code: "Z18c",
    title: "Strangers that stay silent keep their connections, however many they are",
    file: "transport/tcp/tcp-transport.ts",
    from: ": this.#pending.size >= pendingHandshakesMax",
    to: ": this.#pending.size < 0 && this.#pending.size >= pendingHandshakesMax",
    finder: "memory suite",
  },
  {
    code: "Z18d",
    title: "A node reads as much of a snapshot at once as another node asks for",
    file: "runtime/snapshots/snapshot-sender.ts",
    from: "    if (transfer.answeringBytes + message.bytes > REQUESTED_BYTES_MAX) return;\n",
    to: "",
    finder: "memory suite",
  },
];
