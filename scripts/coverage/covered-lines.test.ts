import { expect, it } from "vitest";

import { coverageOf } from "./covered-lines.ts";

const SOURCE = `// A comment
let calls: number = 0;
interface Unused { readonly value: () => void }
export function half(value: number) {
  if (value > 1) return value / 2;
  calls += 1;
  return [value].map((one) =>
    one + 1,
  );
}
function never() {
  return calls;
}
class Counter {
  #count = 0;
}
`;

/**
 * As V8 tells it, after \`half(0)\`: the function, what it left out, and the function that was never called.
 */
function ranges() {
  const rangeOf = (from: string, to: string, count: number) => {
    const startOffset = SOURCE.indexOf(from);
    return { startOffset, endOffset: SOURCE.indexOf(to, startOffset) + to.length, count };
  };
  return [
    { startOffset: 0, endOffset: SOURCE.length, count: 1 },
    rangeOf("function half", "\n}", 1),
    rangeOf(" return value / 2;", ";", 0),
    rangeOf("(one) =>", "one + 1", 1),
    rangeOf("function never", "\n}", 0),
    rangeOf("#count", ";", 0),
  ];
}

it("lines count on which statements begin, and are covered if one of those ran", () => {
  expect(coverageOf(SOURCE, ranges())).toEqual({
    covered: [2, 5, 6, 7, 8],
    missed: [12, 15],
    statements: 8,
    statementsCovered: 5,
  });
});

it("a file that was never loaded is not covered", () => {
  expect(coverageOf(SOURCE, [])).toMatchObject({ covered: [], statementsCovered: 0 });
});

it("methods that are left out by name do not count", () => {
  const source = `class Counter {\n  count() {\n    return 1;\n  }\n  other() {\n    return 2;\n  }\n}\n`;
  expect(coverageOf(source, []).missed).toEqual([3, 6]);
  expect(coverageOf(source, [], ["count"]).missed).toEqual([6]);
});
