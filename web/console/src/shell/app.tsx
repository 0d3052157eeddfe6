/** The frame around the rooms: navigation, how the connection is, who is signed in. */
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { credential } from "../gateway/api.js";
import { access } from "../gateway/session.js";
import { ROOMS, type RoomEntry, offered } from "../rooms.js";
import { place } from "../router.js";
import { Badge } from "./badge.js";
import { Icon } from "./icons.js";
import { RenewBanner, SignIn, WhoAmI } from "./sign_in.js";
import { theme, turnTheme } from "./theme.js";

export function App(): JSX.Element {
  const { state } = access.value;
  const rooms = offered();
  const room = roomAt(rooms);
  useEffect(() => {
    document.title = `${state === "closed" ? "Sign in" : (room?.title ?? "Console")} · Fanout Gateway`;
  }, [state, room]);
  if (state === "closed") {
    return (
      <main id="main" tabIndex={-1} class="alone">
        <SignIn />
      </main>
    );
  }
  return (
    <>
      <a class="skip" href="#main" onClick={skip}>
        Skip to the content
      </a>
      <Side offered={rooms} current={room} />
      <main id="main" tabIndex={-1}>
        <RenewBanner />
        {state === "open" && room !== undefined && <room.view key={room.path} />}
        {state === "open" && room === undefined && <NotOffered />}
        {state === "asking" && <p class="empty">Asking the gateway …</p>}
      </main>
    </>
  );
}

function roomAt(rooms: readonly RoomEntry[]): RoomEntry | undefined {
  const { room } = place.value;
  return room === "" ? rooms[0] : rooms.find((entry) => entry.path === room);
}

function NotOffered(): JSX.Element {
  const known = ROOMS.find((entry) => entry.path === place.value.room);
  return (
    <div class="room">
      <header class="room-head">
        <h1>{known?.title ?? "No such room"}</h1>
      </header>
      <p class="empty">
        {known === undefined
          ? "Nothing is at this address."
          : `This room needs the grant ${known.needs ?? ""}, which you do not have.`}{" "}
        <a href="#/topics">Topics</a> is open to you.
      </p>
    </div>
  );
}

function Side({ offered, current }: { offered: readonly RoomEntry[]; current: RoomEntry | undefined }): JSX.Element {
  const [open, setOpen] = useState(false);
  useEffect(() => setOpen(false), [place.value]);
  return (
    <header class={`side ${open ? "open" : ""}`}>
      <div class="brand">
        <img src="icon.svg" alt="" width="22" height="22" />
        <span>Fanout Gateway</span>
      </div>
      <button
        type="button"
        class="quiet menu"
        aria-expanded={open}
        aria-controls="rooms"
        onClick={() => setOpen(!open)}
      >
        {current?.title ?? "Rooms"} <span aria-hidden="true">▾</span>
      </button>
      <nav id="rooms" aria-label="Rooms">
        {offered.map((room) => (
          <a key={room.path} href={`#/${room.path}`} aria-current={room === current ? "page" : undefined}>
            <Icon name={room.path} />
            {room.title}
          </a>
        ))}
      </nav>
      <div class="side-end">
        <Badge />
        <div class="side-line">
          <WhoAmI signedIn={credential.value !== null} />
          <button type="button" class="quiet" onClick={turnTheme}>
            Theme: {theme}
          </button>
        </div>
      </div>
    </header>
  );
}

// The address's fragment is the room's: the skip link moves the focus without it.
function skip(event: Event): void {
  event.preventDefault();
  document.querySelector<HTMLElement>("#main")?.focus();
}
