/**
 * The rooms of the console and the way between them: `#/topics` opens the room whose path is `topics`. What follows
 * a `?` belongs to the room. A room is built at the first visit and kept, so that what it shows goes on meanwhile.
 */
import type { Client } from "@fanout-gateway/client";
import { element } from "./dom.js";

/** What every room is given. */
export interface Context {
  readonly client: Client;
}

export interface Room {
  readonly path: string;
  readonly title: string;
  build(context: Context): HTMLElement;
}

export function showRooms(rooms: readonly [Room, ...Room[]], context: Context): void {
  const main = document.querySelector("#main") as HTMLElement;
  const navigation = document.querySelector("#rooms") as HTMLElement;
  const built = new Map<Room, HTMLElement>();
  const links = new Map(rooms.map((room) => [room, element("a", { href: `#/${room.path}` }, room.title)]));
  navigation.replaceChildren(...links.values());

  const open = (): void => {
    const path = location.hash.replace(/^#\//, "").split("?")[0];
    const room = rooms.find((candidate) => candidate.path === path) ?? rooms[0];
    const shown = built.get(room) ?? room.build(context);
    built.set(room, shown);
    main.replaceChildren(shown);
    document.title = `${room.title} · Fanout Gateway`;
    for (const [other, link] of links) {
      if (other === room) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  };
  addEventListener("hashchange", open);
  open();
}
