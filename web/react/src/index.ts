"use client";

export { GatewayProvider, type GatewayProviderProps, useClient } from "./provider.js";
export { type ConnectionView, useConnection } from "./use_connection.js";
export { type TopicOptions, useTopic } from "./use_topic.js";
export type { TopicView } from "./topic_feed.js";
export { type TopicStateOptions, type TopicStateView, useTopicState } from "./use_topic_state.js";
