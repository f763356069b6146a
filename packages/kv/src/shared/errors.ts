/** The errors that end the program with a message for its user. */

/** The command line isn't valid. The program prints the message and how to get help, and exits with 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/**
 * A command failed, or the server can't start or had to stop, for a reason that the user can fix. The program
 * prints the message without a stack, and exits with 1.
 */
export class StartError extends Error {
  override readonly name = "StartError";
}

/**
 * The reason that an error gives. If it has no message, as Node's `AggregateError` for a name with several
 * addresses, the reasons of the errors inside it, or at least its code or name.
 */
export function reasonOf(error: unknown, levels = 4): string {
  if (!(error instanceof Error)) return String(error);
  if (error.message !== "") return error.message;
  const inner: readonly unknown[] = error instanceof AggregateError ? error.errors : [error.cause];
  const reasons = inner.flatMap((one) =>
    one === undefined || one === null || levels === 0 ? [] : [reasonOf(one, levels - 1)],
  );
  const { code } = error as NodeJS.ErrnoException;
  return [...new Set(reasons)].join("; ") || (code ?? error.name);
}
