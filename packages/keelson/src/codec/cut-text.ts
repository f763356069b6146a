/**
 * The beginning of a text, at most `charsMax` UTF-16 units, as UTF-8 can carry it: cut between code points,
 * so that no half of a surrogate pair is left, and with U+FFFD for lone surrogates of the text itself. So a
 * text that was stored or sent as UTF-8 and read back is the same as the text in memory.
 */
export function cutText(text: string, charsMax: number): string {
  const last = text.charCodeAt(charsMax - 1);
  const splitsPair = text.length > charsMax && last >= 0xd800 && last < 0xdc00;
  return text.slice(0, splitsPair ? charsMax - 1 : charsMax).toWellFormed();
}
