/** The topic explorer: subscribe, watch, inspect, publish. */
import type { Client } from "@fanout-gateway/client";
import { element } from "../dom.js";
import type { Room } from "../rooms.js";
import { filtersInAddress, putFiltersInAddress } from "./address.js";
import { Feed } from "./feed.js";
import { Filters } from "./filters.js";
import { Inspector } from "./inspector.js";
import { publishForm } from "./publish.js";
import { Sparkline } from "./sparkline.js";
import { MessageTable } from "./table.js";

/** Lists that change more often than this can't be read. */
const FRAME_MILLISECONDS = 80;

export const topicsRoom: Room = {
  path: "topics",
  title: "Topics",
  build: ({ client }) => build(client),
};

function build(client: Client): HTMLElement {
  const feed = new Feed();
  const inspector = new Inspector();
  const table = new MessageTable((entry) => inspector.show(entry.message));
  const filters = new Filters(client, {
    changed: (all) => {
      putFiltersInAddress(all);
      table.explain(all.length === 0 ? "Subscribe to a filter to see messages arrive here." : "Nothing has arrived yet.");
    },
  });
  const bar = toolbar(feed, () => {
    feed.clear();
    table.clear();
    inspector.clear();
  });
  client.on("message", (message) => feed.add({ kind: "message", receivedAt: Date.now(), message }));
  client.on("gap", (gap) => feed.add({ kind: "gap", receivedAt: Date.now(), gap }));
  everyFrame(() => {
    table.prepend(feed.take());
    filters.refresh();
    bar.refresh();
  });
  for (const filter of filtersInAddress()) void filters.add(filter);
  return element(
    "div",
    { class: "topics" },
    element("h1", { class: "hidden" }, "Topics"),
    element("div", { class: "card feed" }, filters.root, bar.root, table.root),
    element("div", { class: "side" }, publishForm(client), inspector.root),
  );
}

/** The counts, and what can be done with the list. */
function toolbar(feed: Feed, clear: () => void): { root: HTMLElement; refresh: () => void } {
  const rate = element("strong", { class: "figure", id: "rate" }, "0");
  const total = element("strong", { class: "figure", id: "total" }, "0");
  const missed = element("span", { class: "missed", role: "status" });
  const pause = element("button", { type: "button", "aria-pressed": "false" }, "Pause");
  const empty = element("button", { type: "button" }, "Clear");
  const curve = new Sparkline();
  pause.addEventListener("click", () => {
    if (feed.paused) feed.resume();
    else feed.pause();
    pause.textContent = feed.paused ? "Resume" : "Pause";
    pause.setAttribute("aria-pressed", String(feed.paused));
  });
  empty.addEventListener("click", clear);
  const refresh = (): void => {
    const rates = feed.rates(Date.now());
    setText(rate, (rates[0] ?? 0).toLocaleString());
    setText(total, feed.total.toLocaleString());
    setText(missed, feed.paused ? `paused, ${feed.arrivedWhilePaused.toLocaleString()} arrived since` : "");
    curve.draw(rates);
  };
  const figures = element("div", { class: "figures" }, curve.root, element("span", {}, rate, " per second"), element("span", {}, total, " in all"));
  return { root: element("div", { class: "toolbar" }, figures, missed, pause, empty), refresh };
}

function setText(target: HTMLElement, text: string): void {
  if (target.textContent !== text) target.textContent = text;
}

/** Calls `work` in the browser's frames, so that a burst is drawn once and a hidden page not at all. */
function everyFrame(work: () => void): void {
  let last = 0;
  const frame = (now: number): void => {
    requestAnimationFrame(frame);
    if (now - last < FRAME_MILLISECONDS) return;
    last = now;
    work();
  };
  requestAnimationFrame(frame);
}
