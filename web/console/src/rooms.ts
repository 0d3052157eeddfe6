/** The rooms of the console, in the order of the navigation. */
import type { ComponentType } from "preact";
import { AuditRoom } from "./audit/room.js";
import { ConnectionsRoom } from "./connections/room.js";
import { DeadLettersRoom } from "./dead_letters/room.js";
import { NodesRoom } from "./nodes/room.js";
import { OverviewRoom } from "./overview/room.js";
import { QueuesRoom } from "./queues/room.js";
import { SettingsRoom } from "./settings/room.js";
import { StreamsRoom } from "./streams/room.js";
import { TopicsRoom } from "./topics/room.js";
import { WebhooksRoom } from "./webhooks/room.js";

export interface RoomEntry {
  readonly path: string;
  readonly title: string;
  /** Whether its calls need the grant `admin`; where that is missing the room isn't offered. */
  readonly admin: boolean;
  readonly view: ComponentType;
}

export const ROOMS: readonly RoomEntry[] = [
  { path: "overview", title: "Overview", admin: true, view: OverviewRoom },
  { path: "topics", title: "Topics", admin: false, view: TopicsRoom },
  { path: "connections", title: "Connections", admin: true, view: ConnectionsRoom },
  { path: "streams", title: "Streams", admin: true, view: StreamsRoom },
  { path: "queues", title: "Queues", admin: true, view: QueuesRoom },
  { path: "dead-letters", title: "Dead letters", admin: true, view: DeadLettersRoom },
  { path: "webhooks", title: "Webhooks", admin: true, view: WebhooksRoom },
  { path: "nodes", title: "Nodes", admin: true, view: NodesRoom },
  { path: "settings", title: "Settings", admin: true, view: SettingsRoom },
  { path: "audit", title: "Audit", admin: true, view: AuditRoom },
];
