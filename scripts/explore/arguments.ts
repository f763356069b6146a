// The bounds of an exploration as flags.
import {
  checkBounds,
  COUNTED,
  PROFILES,
  SWITCHES,
  type Bounds,
} from "../../packages/keelson/src/testing/explore/shared/bounds.ts";
import { changeOf } from "../../packages/keelson/src/testing/explore/group/start.ts";

/** The bounds `name`, with what the flags change. Throws a `RangeError` for a wrong flag. */
export function boundsOf(name: string, values: Record<string, unknown>): Bounds {
  const profile = PROFILES[name];
  if (profile === undefined)
    throw new RangeError(`--bounds is one of ${Object.keys(PROFILES).join(", ")}, not ${name}`);
  const bounds: { -readonly [Name in keyof Bounds]: Bounds[Name] } = { ...profile, ...changesIn(values) };
  if (values["initialized-nodes"] === undefined)
    bounds.initializedNodes = Math.min(bounds.initializedNodes, bounds.nodes);
  checkBounds(bounds);
  return bounds;
}

/** The bounds that the flags name. */
export function changesIn(values: Record<string, unknown>): Partial<Bounds> {
  const changes: Record<string, number | boolean | string> = {};
  if (typeof values["start"] === "string") changes["change"] = changeOf(values["start"]);
  for (const name of ["start", "change"]) {
    if (typeof values[name] === "string") changes[name] = values[name];
  }
  for (const field of COUNTED) {
    const text = values[kebab(field)];
    if (typeof text === "string") changes[field] = number(kebab(field), text);
  }
  for (const field of SWITCHES) {
    const text = values[kebab(field)];
    if (text === undefined) continue;
    if (text !== "true" && text !== "false") throw new RangeError(`--${kebab(field)} is true or false`);
    changes[field] = text === "true";
  }
  return changes;
}

export function number(name: string, text: string): number {
  const value = Number(text);
  if (text === "" || Number.isNaN(value) || value < 0)
    throw new RangeError(`--${name} takes a number, not "${text}"`);
  return value;
}

export function describeBounds(bounds: Bounds): string {
  const on = SWITCHES.filter((name) => bounds[name]).map(kebab);
  const change = bounds.change === "none" ? "" : `, to ${bounds.change}`;
  const counted = COUNTED.map((name) => `${kebab(name)} ${bounds[name]}`).join(", ");
  return `from ${bounds.start}${change}: ${counted}${on.length > 0 ? `; ${on.join(", ")}` : ""}`;
}

export function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
