/** What happens to the page or worker that a connection should hear of. */
export interface PageListeners {
  /** It is seen again, or goes on after it was frozen: its timers were late or stood still. */
  awake(): void;
  online(): void;
  offline(): void;
}

/** Listens where there is something to listen to; returns the function that ends it. */
export function watchPage(listeners: PageListeners): () => void {
  const controller = new AbortController();
  const listen = (target: Partial<EventTarget> | undefined, name: string, listener: () => void): void =>
    target?.addEventListener?.(name, listener, { signal: controller.signal });
  const page = (globalThis as { document?: Document }).document;
  listen(globalThis, "online", () => listeners.online());
  listen(globalThis, "offline", () => listeners.offline());
  listen(page, "visibilitychange", () => {
    if (page?.visibilityState === "visible") listeners.awake();
  });
  listen(page, "resume", () => listeners.awake());
  listen(globalThis, "pageshow", () => listeners.awake());
  return () => controller.abort();
}
