// Members: who belongs to the cluster and at which addresses, changes of the membership (§6), transfers of
// leadership (dissertation 3.10), and what a leader maintains about its members.
export { checkAddress } from "./addresses.ts";
export { LeaderMaintenance } from "./leader-maintenance.ts";
export { MemberDirectory } from "./member-directory.ts";
export { MembershipCalls } from "./membership-calls.ts";
export { MembershipChanges } from "./membership-changes.ts";
export { MembershipHistory, type MembershipAt } from "./membership-history.ts";
export { isLostStoreId, LostEntries } from "./lost-entries.ts";
export { KnownPeers } from "./known-peers.ts";
export { RemovalWatch, type RemovalEvidence } from "./removal-watch.ts";
export { LeadershipTransfers } from "./leadership-transfers.ts";
export { membershipOf, type MembershipChange } from "./next-membership.ts";
