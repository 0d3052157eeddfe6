import type { Client, StateChange } from "@fanout-gateway/client";
import { element } from "./dom.js";

const WORDS: Record<StateChange["state"], string> = {
  idle: "Not connected",
  connecting: "Connecting",
  connected: "Connected",
  reconnecting: "Reconnecting",
  closed: "Closed",
};

/** Shows how the connection is, when the next attempt comes, and lets one not wait for it. */
export function connectionBadge(client: Client): HTMLElement {
  const word = element("span", { role: "status" });
  // Not part of the status: a screen reader would read out every second.
  const countdown = element("span", { class: "countdown" });
  const retry = element("button", { type: "button", class: "quiet" }, "Retry now");
  const badge = element("div", { class: "badge" }, element("span", { class: "dot" }), word, countdown, retry);
  let ticking: ReturnType<typeof setInterval> | undefined;

  const count = (): void => {
    const { retryAt } = client.status;
    const seconds = retryAt === null ? 0 : Math.max(0, Math.ceil((retryAt - Date.now()) / 1000));
    countdown.textContent = retryAt === null ? "" : ` in ${seconds} s`;
  };
  const show = (status: StateChange): void => {
    badge.dataset["state"] = status.state;
    badge.title = status.error?.reason ?? "";
    if (word.textContent !== WORDS[status.state]) word.textContent = WORDS[status.state];
    retry.hidden = status.retryAt === null;
    clearInterval(ticking);
    count();
    if (status.retryAt !== null) ticking = setInterval(count, 250);
  };
  retry.addEventListener("click", () => client.retryNow());
  addEventListener("online", () => client.retryNow());
  client.on("state", show);
  show(client.status);
  return badge;
}
