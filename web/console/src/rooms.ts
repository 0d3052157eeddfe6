/** The rooms of the console, in the order of the navigation. */
import type { ComponentType } from "preact";
import { AuditRoom } from "./audit/room.js";
import { ConnectionsRoom } from "./connections/room.js";
import { DeadLettersRoom } from "./dead_letters/room.js";
import { type Grants, isAdmin, mayAnything } from "./gateway/session.js";
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
  /** The grant that its calls need, for anything at all; where that is missing the room isn't offered. */
  readonly needs: "admin" | keyof Grants | null;
  readonly view: ComponentType;
}

export const ROOMS: readonly RoomEntry[] = [
  { path: "overview", title: "Overview", needs: "admin", view: OverviewRoom },
  { path: "topics", title: "Topics", needs: null, view: TopicsRoom },
  { path: "connections", title: "Connections", needs: "admin", view: ConnectionsRoom },
  { path: "streams", title: "Streams", needs: "subscribe", view: StreamsRoom },
  { path: "queues", title: "Queues", needs: "consume", view: QueuesRoom },
  { path: "dead-letters", title: "Dead letters", needs: "consume", view: DeadLettersRoom },
  { path: "webhooks", title: "Webhooks", needs: "admin", view: WebhooksRoom },
  { path: "nodes", title: "Nodes", needs: "admin", view: NodesRoom },
  { path: "settings", title: "Settings", needs: "admin", view: SettingsRoom },
  { path: "audit", title: "Audit", needs: "admin", view: AuditRoom },
];

/** The rooms for whoever is signed in. */
export function offered(): readonly RoomEntry[] {
  return ROOMS.filter(({ needs }) => needs === null || (needs === "admin" ? isAdmin.value : mayAnything(needs)));
}
