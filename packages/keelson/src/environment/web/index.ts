// What keelson/environment/web exports.
export { webEnvironment, type WebEnvironmentOptions } from "./web-environment.ts";
