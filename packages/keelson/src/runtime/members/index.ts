// Members: who belongs to the cluster and at which addresses, changes of the membership (§6), transfers of leadership
// (dissertation 3.10), and what a leader maintains about its members.
export { checkAddress } from "./addresses.ts";
export { LeaderChores } from "./leader-chores.ts";
export { MemberDirectory } from "./member-directory.ts";
export { MembershipChanges, membershipIn, type MembershipChange } from "./membership-changes.ts";
export { MembershipHistory, type MembershipAt } from "./membership.ts";
export { Peers } from "./peers.ts";
export { Transfers } from "./transfers.ts";
