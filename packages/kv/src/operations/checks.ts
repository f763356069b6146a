/** What every request must keep to, whichever protocol it comes by. */
import type { SessionCommandId } from "keelson";
import { keyProblem } from "../store/commands.ts";

/** The most keys in one page; bounds the memory and the time of one request. */
const LIST_LIMIT_MAX = 1000;

/** The request isn't valid. The server answers 400 with the message. */
export class BadRequestError extends Error {
  override readonly name = "BadRequestError";
}

/** @throws BadRequestError no key can be like this */
export function checkKey(key: Uint8Array): void {
  const problem = keyProblem(key);
  if (problem !== null) throw new BadRequestError(problem);
}

/** @throws BadRequestError the limit of a page is out of its range. `text`: as the client gave it */
export function checkListLimit(limit: number, text: string): void {
  if (limit >= 1 && limit <= LIST_LIMIT_MAX) return;
  throw new BadRequestError(`limit is a whole number from 1 to ${LIST_LIMIT_MAX}, not "${text}"`);
}

/**
 * Checks a write's place in its session. `name`: what the client calls the lowest unanswered number.
 *
 * @throws BadRequestError
 */
export function checkSession(
  { sequence, lowestUnanswered }: SessionCommandId,
  name: string,
  of: string,
): void {
  if (lowestUnanswered <= sequence) return;
  throw new BadRequestError(`${name} is ${lowestUnanswered}; it is at most ${of}, ${sequence}`);
}
