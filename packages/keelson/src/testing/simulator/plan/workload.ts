/** Limits on what clients do, for plans and for the calls after healing. */

/** How long a call may take, unless a plan says otherwise: long enough for an election in between. */
export const CALL_TIMEOUT_MS = 2_000;

/** About so many calls are made in one run. More find little more, and take time from other runs. */
export const CALLS_MAX = 400;
