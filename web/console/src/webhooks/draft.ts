/** A delivery while it is being made: the places in it, and templates of what is in them. */
import type { Sample } from "./signing.js";

/** Places, and the value, or one of the values, that must be there; `*` stands for any characters, "" for nothing. */
export type Table = Readonly<Record<string, Scalar | readonly Scalar[]>>;
type Scalar = string | number | boolean;
type Json = null | Scalar | Json[] | { [name: string]: Json };

interface Beginning {
  readonly url: string;
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Whether something is put into the body, so that it has to be JSON and its text doesn't stay as it is. */
  readonly inJson: boolean;
  /** Whether the JSON, an object of texts, is sent as a form. */
  readonly isForm?: boolean;
}

/** In a path of the body: each entry of an array. */
const EACH = "*";
const MOST_ENTRIES = 100;
/** As the gateway has it (HubSpot, "Validate requests"): these alone are decoded before the URL is signed. */
const DECODED = /%(3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)/gi;
const PLACEHOLDER = /\{([^{}|]+)(?:\|[^{}]*)?\}/g;
const TOKEN = /\{\{|\}\}|\[\[|\]\]|\{([^{}]*)\}|[{}[\]]|[^{}[\]]+/g;

/** The places that a template names. */
export function names(template: string): string[] {
  const named = [...template.matchAll(PLACEHOLDER)].map(([, name = ""]) => name);
  return named.filter((name) => /^(header|query|body)\./.test(name));
}

export class Draft {
  #value: Json = null;
  readonly #headers: Record<string, string>;
  readonly #query = new URLSearchParams();

  /** @throws Error the body isn't what it has to be. */
  constructor(private readonly begun: Beginning) {
    this.#headers = { ...begun.headers };
    if (!begun.inJson) return;
    try {
      this.#value = JSON.parse(begun.body) as Json;
    } catch {
      throw new Error("the body has to be JSON: what vouches for a delivery is inside");
    }
  }

  /** The body, where it is JSON. */
  get value(): unknown {
    return this.#value;
  }

  put(place: string, text: string): void {
    const [kind = "", ...path] = place.split(".");
    const name = path.join(".");
    if (kind === "header") this.#headers[name.toLowerCase()] = text;
    else if (kind === "query") this.#query.set(name, text);
    else if (kind === "body") this.#value = withText(this.#value, path, text);
  }

  /** Puts in what a condition wants, where nothing is yet. */
  meet(table: Table): void {
    for (const [place, wanted] of Object.entries(table)) {
      const text = String(Array.isArray(wanted) ? (wanted[0] ?? "") : wanted);
      if (text !== "" && this.#read(place) === null) this.put(place, text.replaceAll(EACH, "sample"));
    }
  }

  /** @throws Error a value is missing. */
  render(template: string, timestamp: string | null): string {
    let text = "";
    // What stands in brackets is left out where a value of it is missing.
    let before: string | null = null;
    let missing: string | null = null;
    for (const [token, name] of template.matchAll(TOKEN)) {
      if (name !== undefined) {
        const value = this.#valueOf(name, timestamp);
        if (value === null) missing ??= name;
        text += value ?? "";
      } else if (token === "[") before = text;
      else if (token === "]") {
        if (missing !== null) text = before ?? text;
        [before, missing] = [null, null];
      } else text += /^(\{\{|\}\}|\[\[|\]\])$/.test(token) ? token[0] : token;
      if (missing !== null && before === null) throw new Error(`${missing} is signed, and missing`);
    }
    return text;
  }

  /** @throws Error it becomes a form and can't. */
  sample(): Sample {
    return { body: this.#body(), headers: this.#headers, query: this.#query.toString() };
  }

  get #url(): string {
    const query = this.#query.toString();
    return query === "" ? this.begun.url : `${this.begun.url}?${query}`;
  }

  #body(): string {
    if (!this.begun.inJson) return this.begun.body;
    return this.begun.isForm === true ? new URLSearchParams(this.#fields()).toString() : JSON.stringify(this.#value);
  }

  #fields(): [string, string][] {
    const fields = Object.entries(this.#value ?? {});
    if (Array.isArray(this.#value) || fields.some(([, value]) => typeof value !== "string"))
      throw new Error("the body becomes a form: it has to be a JSON object of texts");
    return fields as [string, string][];
  }

  #valueOf(name: string, timestamp: string | null): string | null {
    switch (name) {
      case "body":
        return this.#body();
      case "timestamp":
        return timestamp;
      case "url|decoded":
        return this.#url.replace(DECODED, decodeURIComponent);
      case "form|sorted":
        return this.#fields()
          .sort(([one], [other]) => (one < other ? -1 : 1))
          .map(([field, value]) => field + value)
          .join("");
      default:
        return this.#read(name);
    }
  }

  #read(place: string): string | null {
    const [kind = "", ...path] = place.split(".");
    const name = path.join(".");
    if (place === "url") return this.#url;
    if (place === "method") return "POST";
    if (kind === "header") return this.#headers[name.toLowerCase()] || null;
    if (kind === "query") return this.#query.get(name);
    let value: Json | undefined = this.begun.inJson ? this.#value : parsed(this.begun.body);
    for (const step of path) value = (value as Readonly<Record<string, Json>> | null | undefined)?.[step];
    return value === undefined || value === null || typeof value === "object" ? null : String(value);
  }
}

function parsed(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return null;
  }
}

/** `value` with `text` at `path`; what is of another kind than the path wants stays. */
function withText(value: Json | undefined, path: readonly string[], text: string): Json {
  const [name, ...rest] = path;
  if (name === undefined) return typeof value === "object" && value !== null ? value : text;
  const nothing = value === null || value === undefined;
  if (name === EACH && (nothing || Array.isArray(value)))
    return (nothing || value.length === 0 ? [null] : value).map((each) => withText(each, rest, text));
  if (/^\d+$/.test(name) && Number(name) < MOST_ENTRIES && (nothing || Array.isArray(value))) {
    const entries: Json[] = [...(value ?? [])];
    while (entries.length <= Number(name)) entries.push(null);
    entries[Number(name)] = withText(entries[Number(name)], rest, text);
    return entries;
  }
  if (nothing || (typeof value === "object" && !Array.isArray(value)))
    return { ...value, [name]: withText(value?.[name], rest, text) };
  return value;
}
