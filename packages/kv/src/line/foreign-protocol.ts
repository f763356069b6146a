/**
 * Recognizes clients that speak another protocol than the line protocol.
 *
 * Hazard: a web page can make a browser send an HTTP request to any port, and choose most of its body. If the
 * server answered each line of it that is no command with an error and went on, it would come to lines of the
 * body that are commands, and execute them. The same goes for TLS, whose first message holds text that the
 * page's server chose. So the connection must be closed at the first sign of such a protocol, which comes
 * before anything that a page controls: its first line or its first byte.
 */

const SPACE = 0x20;
const TAB = 0x09;
const DELETE = 0x7f;
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/** The end of a request line (RFC 9112, 3), HTTP/2's preface included. */
const HTTP_VERSION = / HTTP\/\d+(?:\.\d+)?[ \t\r]*$/;
/** A method in upper case, as browsers send it, and the beginning of a target (RFC 9112, 3.2). */
const METHOD_AND_TARGET = /^[A-Z][A-Z-]*[ \t]+(?:\/|\*|[A-Za-z][A-Za-z0-9+.-]*:)/;
/**
 * A request line with a target (a path, `*` or a URL) that no key looks like by chance, and any method, even
 * one that is spelled like a command of ours.
 */
const COMMAND_AND_TARGET = /^[a-z]+ (?:\/\S*|\*|[a-z][a-z0-9+.-]*:\/\/\S*) HTTP\//i;
const COMMAND = /^(?:put|get|del) /;
/** No request line is recognized by more of its beginning or its end. */
const START_BYTES = 64;
const END_BYTES = 16;

/** Whether the line, or its beginning if it is over the limit, is the first of an HTTP request. */
export function isHttp(line: Buffer): boolean {
  const start = line.toString("latin1", 0, START_BYTES);
  if (METHOD_AND_TARGET.test(start)) return true;
  const end = line.toString("latin1", Math.max(0, line.length - END_BYTES));
  if (!HTTP_VERSION.test(end)) return false;
  // The line ends like a request line. If it begins with a command, the end may belong to a put's value. But
  // if the key looks like a target too, it can't be told from a request, and is taken for one.
  return !COMMAND.test(start) || COMMAND_AND_TARGET.test(line.toString("latin1"));
}

/**
 * Whether a line may begin with this byte. No command begins with a control character; the first message of
 * TLS does.
 */
export function isText(byte: number): boolean {
  return byte === TAB || byte === LINE_FEED || byte === CARRIAGE_RETURN || (byte >= SPACE && byte !== DELETE);
}
