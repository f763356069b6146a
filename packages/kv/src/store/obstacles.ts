/**
 * Errors of the operating system that say nothing about the state on the disk, and what to do about each.
 * LevelDB reports them as texts only, so they are told apart by what `strerror` says in the C libraries of
 * Linux (glibc, musl), macOS and Windows. Node's own errors begin with the code.
 */

/** Why a database can't be used at the moment. */
export interface Obstacle {
  readonly pattern: RegExp;
  /** What the matter is, in words. */
  readonly means: string;
  /** What the operator should do, in words. */
  readonly advice: string;
}

/** The obstacle that the text of an error tells of. null: none of those known. */
export function obstacleIn(text: string): Obstacle | null {
  return OBSTACLES.find(({ pattern }) => pattern.test(text)) ?? null;
}

const OBSTACLES: readonly Obstacle[] = [
  {
    pattern: /\bENOSPC\b|\bEDQUOT\b|no space left on device|not enough space|quota exceeded/i,
    means: "the disk is full",
    advice: "make room",
  },
  {
    pattern: /\bEMFILE\b|\bENFILE\b|too many open files|no file descriptors available/i,
    means: "there are too many open files",
    advice: "raise the limit (ulimit -n)",
  },
  {
    pattern: /\bENOMEM\b|\bEAGAIN\b|cannot allocate memory|out of memory|resource temporarily unavailable/i,
    means: "the machine is short of memory or other resources",
    advice: "free some",
  },
  {
    pattern: /\bEACCES\b|\bEPERM\b|permission denied|operation not permitted|access is denied/i,
    means: "permission is denied",
    advice: "let the user that runs the node read and write it",
  },
  {
    pattern: /\bEROFS\b|read-only file system/i,
    means: "the file system is read-only",
    advice: "make it writable",
  },
  {
    pattern: /\bEIO\b|input\/output error|\bi\/o error\b/i,
    means: "the disk reports an error",
    advice: "check the disk",
  },
  {
    pattern: /\bENOTDIR\b|\bEISDIR\b|\bELOOP\b|\bENAMETOOLONG\b|\bEEXIST\b|not a directory|is a directory/i,
    means: "something else is where a directory or a file should be",
    advice: "check the path",
  },
];
