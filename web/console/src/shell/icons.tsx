import type { JSX } from "preact";

const PATHS: Readonly<Record<string, string>> = {
  overview: "M2 12l3.5-5 3 3L14 3",
  topics: "M3 8h4m0 0c4 0 2-4.5 6-4.5M7 8h6M7 8c4 0 2 4.5 6 4.5",
  connections: "M5.5 10.5l5-5M6.5 4.5l1-1a3 3 0 014.5 4l-1 1M9.5 11.5l-1 1a3 3 0 01-4.5-4l1-1",
  streams: "M2 4.5h12M2 8h12M2 11.5h12",
  queues: "M2.5 3.5h11v3h-11zM2.5 9.5h7v3h-7zM11.5 11h2.5",
  "dead-letters": "M2.5 4h11v8.5h-11zM2.5 4.5l5.5 4 5.5-4",
  webhooks: "M8 2.5v6m0 0l-2.5-2.5M8 8.5l2.5-2.5M3 9.5v3.5h10V9.5",
  nodes: "M3 3h10v4H3zM3 9h10v4H3zM5.5 5h.01M5.5 11h.01",
  settings: "M3 4.5h6M12 4.5h1M3 11.5h1M7 11.5h6M10.5 3v3M5.5 10v3",
  audit: "M4 2.5h8v11H4zM6 5.5h4M6 8h4M6 10.5h2",
};

/** A room's sign; decoration beside its name. */
export function Icon({ name }: { name: string }): JSX.Element {
  return (
    <svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      <path d={PATHS[name] ?? ""} />
    </svg>
  );
}
