import { describe, expect, it } from "vitest";
import { cutText } from "./cut-text.ts";

describe("cutText", () => {
  it("cuts between code points", () => {
    expect(cutText("ab😀cd", 2)).toBe("ab");
    expect(cutText("ab😀cd", 3)).toBe("ab");
    expect(cutText("ab😀cd", 4)).toBe("ab😀");
    expect(cutText("ab😀", 4)).toBe("ab😀");
    expect(cutText("", 3)).toBe("");
  });

  it("returns what UTF-8 gives back, whatever the text", () => {
    for (const text of ["\ud800", "a\udc00b", "a\ud83d", "\udc00\ud800", "😀\ud83dx"]) {
      const cut = cutText(text, 3);
      expect(new TextDecoder().decode(new TextEncoder().encode(cut))).toBe(cut);
    }
  });
});
