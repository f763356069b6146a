// What an operator can do about errors of the file system, for the stores on disk.

/**
 * What to do about an error of the file system that says nothing about what is on the disk; "": nothing
 * special. Without it, a full disk is easily taken for damage.
 */
export function adviceFor(error: unknown): string {
  if (["ENOSPC", "EDQUOT"].some((code) => codeOf(error) === code)) {
    return " THE DISK IS FULL. Nothing that was acknowledged is lost: make room, and start the node again.";
  }
  if (["EMFILE", "ENFILE"].some((code) => codeOf(error) === code)) {
    return " There are too many open files: raise the limit (ulimit -n), and start the node again.";
  }
  if (["EACCES", "EPERM", "EROFS"].some((code) => codeOf(error) === code)) {
    return " The user that runs the node must be able to read and write there. Nothing is wrong with the log.";
  }
  return "";
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : null;
}
