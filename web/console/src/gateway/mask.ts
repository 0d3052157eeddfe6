/** Payloads as they may be shown: what the setting `console.mask` names is covered. */
import { signal } from "@preact/signals";

/** One step of a path: a field, any field (`*`), or what follows at any depth (`..`). */
type Step = string | typeof ANY | typeof DEEP;
const ANY = Symbol("*");
const DEEP = Symbol("..");
export const COVER = "***";

/** The paths in force, as the gateway says. */
export const masks = signal<readonly string[]>([]);

const parsed = new Map<string, readonly Step[]>();

/** The value with everything covered that a path names; the value itself is left as it is. */
export function masked(value: unknown, paths: readonly string[] = masks.value): unknown {
  return paths.reduce((covered, path) => cover(covered, stepsOf(path)), value);
}

function cover(value: unknown, steps: readonly Step[]): unknown {
  const [step, ...rest] = steps;
  if (step === undefined) return COVER;
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return value;
  if (step === DEEP) return coverDeep(value, rest);
  const here = (name: string): boolean => step === ANY || step === name;
  if (Array.isArray(value)) return value.map((item, index) => (here(String(index)) ? cover(item, rest) : item));
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, here(name) ? cover(item, rest) : item]));
}

function coverDeep(value: object, rest: readonly Step[]): unknown {
  const here = cover(value, rest) as object;
  if (Array.isArray(here)) return here.map((item: unknown) => (isObject(item) ? coverDeep(item, rest) : item));
  return Object.fromEntries(
    Object.entries(here).map(([name, item]) => [name, isObject(item) ? coverDeep(item, rest) : item]),
  );
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !(value instanceof Uint8Array);
}

/** `$.card.number`, `$.items[*].price`, `$..password`, `$['a b']`: the part of RFC 9535 that names fields. */
export function stepsOf(path: string): readonly Step[] {
  const known = parsed.get(path);
  if (known !== undefined) return known;
  const steps: Step[] = [];
  for (const [, deep, dotted, single, double, index] of path
    .replace(/^\$/, "")
    .matchAll(/(\.\.)?\.?(?:([^.[\]]+)|\[(?:'([^']*)'|"([^"]*)"|(\*|\d+))\])/g)) {
    if (deep !== undefined) steps.push(DEEP);
    const name = dotted ?? single ?? double ?? index ?? "";
    steps.push(name === "*" ? ANY : name);
  }
  parsed.set(path, steps);
  return steps;
}
