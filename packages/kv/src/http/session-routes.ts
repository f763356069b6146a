/** The routes of sessions: `POST /sessions` and `DELETE /sessions/ID`. */
import type { Serving } from "../node/kv-node.ts";
import type { KeyOperations } from "../operations/key-operations.ts";
import { jsonAnswer, type Answer } from "./answer.ts";
import { parametersOf, sessionIdOf, wholeNumber } from "./request-syntax.ts";

/**
 * `POST /sessions?ttlMs=N`: opens a session, in which a write that is sent more than once takes effect once.
 */
export async function openSession(
  operations: KeyOperations,
  serving: Serving,
  target: string,
): Promise<Answer> {
  const text = parametersOf(target, ["ttlMs"]).get("ttlMs")?.toString("utf8");
  const asked = text === undefined ? undefined : wholeNumber("ttlMs", text);
  const { id, ttlMs } = await operations.openSession(serving, asked);
  return jsonAnswer({ session: id, ttlMs }, { Location: `/sessions/${id}` }, 201);
}

/** `DELETE /sessions/ID`: ends a session. Succeeds too if it has ended already. */
export async function endSession(
  operations: KeyOperations,
  serving: Serving,
  target: string,
): Promise<Answer> {
  parametersOf(target, []);
  await operations.endSession(serving, sessionIdOf(target));
  return { status: 204, headers: {}, body: null };
}
