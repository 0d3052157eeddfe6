/** The effective settings of the node that answers, as `GET /v1/settings` tells them. */
import { call } from "./api.js";

export interface Setting {
  readonly name: string;
  readonly value: unknown;
  readonly default: unknown;
  readonly source: string;
}

export interface Settings {
  readonly node: string;
  readonly settings: readonly Setting[];
}

export function readSettings(signal?: AbortSignal): Promise<Settings> {
  return call<Settings>("v1/settings", signal === undefined ? {} : { signal });
}
