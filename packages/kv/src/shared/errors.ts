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
