/** How long a call may take: a caller has time, mostly. */
export const CALL_TIMEOUT_MS = 2_000;

/** Calls in one run, about: more find little more, and cost the time of other runs. */
export const CALLS_MAX = 400;
