import { type Client, type GatewayError, type Message, type StateOptions, type TopicState } from "@fanout-gateway/client";
import { useCallback, useSyncExternalStore } from "react";
import { useClient } from "./provider.js";
import { type Feed, SharedFeeds } from "./shared_feeds.js";

export type TopicStateOptions = StateOptions;

/** What a component sees of the last values of a filter's topics. */
export interface TopicStateView<Data = unknown> {
  /** By topic. Empty until it is whole for the first time. */
  readonly topics: ReadonlyMap<string, Message<Data>>;
  /** Whether there may be newer values. */
  readonly stale: boolean;
  /** Why it has ended. */
  readonly error: GatewayError | null;
}

const IDLE: TopicStateView<never> = Object.freeze({ topics: new Map<string, never>(), stale: true, error: null });

class StateFeedOfTopics implements Feed<TopicStateView> {
  #state: TopicState | null = null;

  constructor(
    private readonly client: Client,
    private readonly filter: string,
    private readonly options: StateOptions,
  ) {}

  get view(): TopicStateView {
    const state = this.#state;
    return state === null ? IDLE : { topics: state.getSnapshot(), stale: state.stale, error: state.error };
  }

  start(changed: () => void): void {
    this.#state = this.client.state(this.filter, this.options);
    this.#state.subscribe(changed);
  }

  stop(): void {
    void this.#state?.close().catch(() => undefined);
  }
}

const feeds = new SharedFeeds<TopicStateView>();

/**
 * The last messages of all topics that match, kept current while the component is there. Components that ask for the same share
 * one state. With null as filter nothing is asked for.
 */
export function useTopicState<Data = unknown>(filter: string | null, options: TopicStateOptions = {}): TopicStateView<Data> {
  const client = useClient();
  const key = JSON.stringify([filter, options.maxTopics ?? null]);
  const listen = useCallback(
    (listener: () => void): (() => void) => {
      const [filter, maxTopics] = JSON.parse(key) as [string | null, number | null];
      if (filter === null) return () => undefined;
      const options = maxTopics === null ? {} : { maxTopics };
      return feeds.listen(client, key, () => new StateFeedOfTopics(client, filter, options), listener);
    },
    [client, key],
  );
  const shown = useCallback(() => feeds.shown(client, key) ?? IDLE, [client, key]);
  return useSyncExternalStore(listen, shown, idle) as TopicStateView<Data>;
}

function idle(): TopicStateView {
  return IDLE;
}
