/** The anchor that GitHub makes of a heading's text, without the number that tells equal ones apart. */
export function headingAnchor(heading: string): string {
  return heading
    .replaceAll(/<[^>]*>|\]\([^)]*\)/g, "")
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
    .trim()
    .replaceAll(" ", "-");
}
