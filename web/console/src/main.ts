/** The console's start: one connection, the rooms, the badge. */
import { Client } from "@fanout-gateway/client";
import { connectionBadge } from "./connection_badge.js";
import { showRooms } from "./rooms.js";
import { themeButton } from "./theme.js";
import { topicsRoom } from "./topics/room.js";

const client = new Client("v1/ws");
(document.querySelector("#status") as HTMLElement).append(connectionBadge(client), themeButton());
showRooms([topicsRoom], { client });
client.connect().catch(() => undefined); // the badge tells

// The address's fragment is the room's: the skip link moves the focus without it.
document.querySelector(".skip")?.addEventListener("click", (event) => {
  event.preventDefault();
  document.querySelector<HTMLElement>("#main")?.focus();
});
