/** Exhaustive exploration of small groups: every order of events within bounds, on the real core. */
export { SMALL, type Bounds } from "./shared/bounds.ts";
export { BREAKS, type Break } from "./breaks.ts";
export { SEARCH_BREAKS, type SearchBreak } from "./search-breaks.ts";
export { Explorer, type Found, type Progress, type Result } from "./explorer.ts";
export { SEARCHES, versionOf, type Search } from "./searches.ts";
export { describeTrace } from "./trace.ts";
