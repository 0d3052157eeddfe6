/** The last 15 minutes, as `GET /v1/statistics` gives them and its events go on; bounded by that. */

/** One value a step; null where there is none. */
export type Values = readonly (number | null)[];
export type Figures = Readonly<Record<string, number | null>>;
type Many<Of> = Readonly<Record<string, Of>>;

/** The answer of `GET /v1/statistics` (docs/http.md, "Statistics"). */
export interface Past {
  readonly nodes: readonly string[];
  readonly missing: readonly string[];
  readonly complete: boolean;
  /** Milliseconds since 1970, of the last value; null as long as there is none. */
  readonly end: number | null;
  readonly step_ms: number;
  readonly series: Many<Values>;
  readonly held: {
    readonly end: number | null;
    readonly step_ms: number;
    readonly streams: Many<Many<Values>>;
    readonly groups: Many<Many<Values>>;
  };
  readonly by_node: Many<Figures>;
  /** By limit, since the node began. */
  readonly refused?: Figures;
}

/** One event of `GET /v1/statistics/events`; `held` only where it was looked at again. */
export interface Tick {
  readonly nodes: readonly string[];
  readonly missing: readonly string[];
  readonly complete: boolean;
  readonly time: number;
  readonly series: Figures;
  readonly held: { readonly time: number; readonly streams: Many<Figures>; readonly groups: Many<Figures> } | null;
  readonly by_node: Many<Figures>;
}

export const SECONDS = 900;

/** Lists of values over one row of times that rises; every list is as long as it. */
class Grid {
  /** Seconds since 1970, as uPlot wants them. */
  times: number[] = [];
  readonly #lists = new Map<string, (number | null)[]>();

  load(end: number | null, step: number, lists: Iterable<readonly [string, Values]>): void {
    this.#lists.clear();
    this.times = [];
    const given = [...lists];
    const length = Math.max(0, ...given.map(([, values]) => values.length));
    if (end === null) return;
    this.times = Array.from({ length }, (_, index) => (end - (length - 1 - index) * step) / 1000);
    for (const [name, values] of given) {
      this.#lists.set(name, [...new Array<null>(length - values.length).fill(null), ...values]);
    }
    this.#cut(0);
  }

  /** Whether it was new. */
  add(time: number, figures: Iterable<readonly [string, number | null]>): boolean {
    if (time / 1000 <= (this.times.at(-1) ?? -Infinity)) return false;
    this.times.push(time / 1000);
    for (const [name, value] of figures) {
      const values = this.#lists.get(name) ?? [];
      while (values.length < this.times.length - 1) values.push(null);
      values.push(value);
      this.#lists.set(name, values);
    }
    for (const values of this.#lists.values()) if (values.length < this.times.length) values.push(null);
    // In steps: moving every list each second would be work for nothing.
    this.#cut(30);
    return true;
  }

  values(name: string): Values {
    return this.#lists.get(name) ?? [];
  }

  #cut(slack: number): void {
    const oldest = (this.times.at(-1) ?? 0) - SECONDS;
    const surplus = this.times.findIndex((time) => time > oldest);
    if (surplus <= slack) return;
    this.times.splice(0, surplus);
    for (const [name, values] of this.#lists) {
      values.splice(0, surplus);
      // What has been told of for a quarter of an hour only as unknown is gone.
      if (values.every((value) => value === null)) this.#lists.delete(name);
    }
  }
}

export class Series {
  readonly #node = new Grid();
  readonly #held = new Grid();
  byNode: Many<Figures> = {};
  refused: Figures = {};
  reach: Pick<Past, "nodes" | "missing" | "complete"> = { nodes: [], missing: [], complete: true };
  /** What there is now. */
  streams: readonly string[] = [];
  groups: readonly string[] = [];

  get times(): readonly number[] {
    return this.#node.times;
  }

  get heldTimes(): readonly number[] {
    return this.#held.times;
  }

  /** Begins anew with what was. */
  load(past: Past): void {
    this.#node.load(past.end, past.step_ms, Object.entries(past.series));
    const { end, step_ms, streams, groups } = past.held;
    this.#held.load(end, step_ms, [...flat("s", streams), ...flat("g", groups)]);
    [this.streams, this.groups] = [Object.keys(streams), Object.keys(groups)];
    this.refused = past.refused ?? {};
    this.#say(past);
  }

  /** Adds a second; one that is there already is passed over. */
  add(tick: Tick): void {
    if (this.#node.add(tick.time, Object.entries(tick.series))) this.#say(tick);
    if (tick.held === null) return;
    const { time, streams, groups } = tick.held;
    if (this.#held.add(time, [...flat("s", streams), ...flat("g", groups)])) {
      [this.streams, this.groups] = [Object.keys(streams), Object.keys(groups)];
    }
  }

  values(name: string): Values {
    return this.#node.values(name);
  }

  latest(name: string): number | null {
    return newest(this.values(name));
  }

  /** Of a stream what it holds, on the grid of `heldTimes`. */
  stream(name: string, figure: string): Values {
    return this.#held.values(key("s", name, figure));
  }

  /** Of a group, named `stream/group`. */
  group(name: string, figure: string): Values {
    return this.#held.values(key("g", name, figure));
  }

  #say({ by_node, nodes, missing, complete }: Past | Tick): void {
    this.byNode = by_node;
    this.reach = { nodes, missing, complete };
  }
}

/** The newest value; the one before, where the last one is not known. */
export function newest(values: Values): number | null {
  return values.at(-1) ?? values.at(-2) ?? null;
}

/** Mean of what is known of the last `steps`, or null. */
export function mean(values: Values, steps: number): number | null {
  const known = values.slice(-steps).filter((value) => value !== null);
  return known.length === 0 ? null : known.reduce((all, value) => all + value, 0) / known.length;
}

export function sum(values: Values, steps: number): number {
  return values.slice(-steps).reduce<number>((all, value) => all + (value ?? 0), 0);
}

export function highest(values: Values, steps: number): number | null {
  const known = values.slice(-steps).filter((value) => value !== null);
  return known.length === 0 ? null : Math.max(...known);
}

/** Several lists of one length added up. */
export function together(...lists: readonly Values[]): (number | null)[] {
  const length = Math.max(0, ...lists.map((values) => values.length));
  return Array.from({ length }, (_, index) => {
    const known = lists
      .map((values) => values[index - (length - values.length)] ?? null)
      .filter((value) => value !== null);
    return known.length === 0 ? null : known.reduce((all, value) => all + value, 0);
  });
}

/** Per second, by how much something that only grows has grown. */
export function growth(values: Values, times: readonly number[]): (number | null)[] {
  const skipped = times.length - values.length;
  return values.map((value, index) => {
    const [before, from, to] = [values[index - 1] ?? null, times[skipped + index - 1], times[skipped + index]];
    if (value === null || before === null || from === undefined || to === undefined) return null;
    return Math.max(0, (value - before) / (to - from));
  });
}

function* flat<Of>(kind: string, things: Many<Many<Of>>): Iterable<readonly [string, Of]> {
  for (const [name, figures] of Object.entries(things)) {
    for (const [figure, value] of Object.entries(figures)) yield [key(kind, name, figure), value];
  }
}

function key(kind: string, name: string, figure: string): string {
  return `${kind}\n${name}\n${figure}`;
}
