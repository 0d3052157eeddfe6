/**
 * The page's place: `#/streams/orders?from=5` is the room `streams`, the rest of the path is the room's own, and so
 * are the parameters. Everything that makes a view worth sharing is in it.
 */
import { computed, signal } from "@preact/signals";

export interface Place {
  readonly room: string;
  readonly rest: readonly string[];
  readonly parameters: URLSearchParams;
}

const fragment = signal(location.hash);
addEventListener("hashchange", () => (fragment.value = location.hash));

export const place = computed(() => read(fragment.value));

export function read(hash: string): Place {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [room = "", ...rest] = path.split("/").map(decode);
  return { room, rest: rest.filter((part) => part !== ""), parameters: new URLSearchParams(query) };
}

/** The address of a place, for a link. */
export function href(
  path: readonly string[],
  parameters: Readonly<Record<string, string | readonly string[] | null | undefined>> = {},
): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const each of typeof value === "string" ? [value] : (value ?? [])) if (each !== "") query.append(name, each);
  }
  const text = query.toString();
  return `#/${path.map(encodeURIComponent).join("/")}${text === "" ? "" : `?${text}`}`;
}

/** Goes there, as a click on a link would. */
export function go(to: string): void {
  location.hash = to;
}

/** The same place under another address: Back doesn't lead through it. */
export function replace(to: string): void {
  history.replaceState(null, "", to);
  fragment.value = to;
}

/** Changes parameters of the present place; null or an empty text takes one out. */
export function setParameters(changes: Readonly<Record<string, string | readonly string[] | null>>): void {
  const { room, rest, parameters } = place.value;
  const all: Record<string, string | readonly string[] | null> = {};
  for (const name of parameters.keys()) all[name] = parameters.getAll(name);
  replace(href([room, ...rest], { ...all, ...changes }));
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
