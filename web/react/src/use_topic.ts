import type { Client, SubscribeOptions } from "@fanout-gateway/client";
import { useCallback, useSyncExternalStore } from "react";
import { useClient } from "./provider.js";
import { SharedFeeds } from "./shared_feeds.js";
import { IDLE_TOPIC, TopicFeed, type TopicView } from "./topic_feed.js";

export interface TopicOptions extends Pick<SubscribeOptions, "from" | "overflow"> {
  /** How many messages are kept, the newest. Default 100. */
  readonly limit?: number;
}

const feeds = new SharedFeeds<TopicView>();

/**
 * The newest messages of all topics that match, followed while the component is there. Components that ask for the same share one
 * subscription. With null as filter nothing is subscribed to.
 */
export function useTopic<Data = unknown>(filter: string | null, options: TopicOptions = {}): TopicView<Data> {
  const client: Client = useClient();
  const { from, overflow, limit = 100 } = options;
  // What was asked for, by value: an object that is made with each render asks for nothing new.
  const key = JSON.stringify([filter, limit, from ?? null, overflow ?? null]);
  const listen = useCallback(
    (listener: () => void): (() => void) => {
      const [filter, limit, from, overflow] = JSON.parse(key) as [string | null, number, never, never];
      if (filter === null) return () => undefined;
      const options = { ...(from === null ? {} : { from }), ...(overflow === null ? {} : { overflow }) };
      return feeds.listen(client, key, () => new TopicFeed(client, filter, options, limit), listener);
    },
    [client, key],
  );
  const shown = useCallback(() => feeds.shown(client, key) ?? IDLE_TOPIC, [client, key]);
  return useSyncExternalStore(listen, shown, idle) as TopicView<Data>;
}

function idle(): TopicView {
  return IDLE_TOPIC;
}
