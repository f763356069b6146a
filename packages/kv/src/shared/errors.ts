/** A command line that cannot be right: told to the user with the way to the help, exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** The server cannot start, or had to stop, for a reason that its user can mend: told without a stack, exit code 1. */
export class StartError extends Error {
  override readonly name = "StartError";
}
