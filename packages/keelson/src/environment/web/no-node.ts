// What stands in for Node's environment where the export condition "browser" holds. A bundler for browsers
// must find no `node:` module behind the library's entry, and a program must be told what to pass instead.
import { InvalidOptionError } from "../../errors.ts";
import type { Environment } from "../environment.ts";

/** Node's environment isn't in this build. @throws InvalidOptionError always */
export function nodeEnvironment(): Environment {
  throw new InvalidOptionError(
    'this is the build of keelson for browsers (export condition "browser"), without Node\'s clock, files and ' +
      "network: pass environment, such as webEnvironment() from keelson/environment/web",
  );
}

/** There is no directory of the program. @throws InvalidOptionError always */
export function programDirectory(): string {
  throw new InvalidOptionError("there is no directory next to this program: give the data directory");
}
