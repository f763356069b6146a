// The text of anything that was thrown, for messages of errors and of the log.

/**
 * The message of something thrown. Never throws itself: user code may throw anything, also objects that can't
 * be made strings, or errors whose message is no string.
 *
 * Node rejects a connection to a name with several addresses with an `AggregateError` without a message. So
 * where the message is empty, the errors inside are named, or the cause, or at least the code or name.
 */
export function textOfThrown(thrown: unknown): string {
  try {
    if (!(thrown instanceof Error)) return String(thrown);
    const text: unknown = thrown.message;
    return text === "" ? textWithoutMessage(thrown, INNER_LEVELS_MAX) : String(text);
  } catch {
    return "something was thrown that has no text";
  }
}

/**
 * How many levels of causes and inner errors are followed. There must be a limit, because they may form a
 * ring.
 */
const INNER_LEVELS_MAX = 4;

function textWithoutMessage(error: Error, levels: number): string {
  const inner =
    error instanceof AggregateError
      ? error.errors
      : [error.cause].filter((cause) => cause !== undefined && cause !== null);
  const texts = levels === 0 ? [] : inner.map((one: unknown) => textAtLevel(one, levels - 1));
  const { code } = error as { readonly code?: unknown };
  return [...new Set(texts)].join("; ") || (typeof code === "string" ? code : error.name);
}

function textAtLevel(thrown: unknown, levels: number): string {
  if (!(thrown instanceof Error)) return String(thrown);
  return thrown.message === "" ? textWithoutMessage(thrown, levels) : thrown.message;
}
