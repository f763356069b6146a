// Bytes as hexadecimal digits, without Node's `Buffer`: for ids, which are short.

/** Two lower-case digits for each byte. */
export function toHex(bytes: Uint8Array): string {
  let digits = "";
  for (const byte of bytes) digits += byte.toString(16).padStart(2, "0");
  return digits;
}

/** The bytes of `digits`, whose number is even. What are no digits become zeros. */
export function fromHex(digits: string): Uint8Array {
  return Uint8Array.from({ length: digits.length / 2 }, (_, at) =>
    Number.parseInt(digits.slice(2 * at, 2 * at + 2), 16),
  );
}
