/** The room's part of the page's address, so that a reload or a shared link has the same filters. */

const ROOM = "#/topics";

export function filtersInAddress(): string[] {
  const query = location.hash.startsWith(`${ROOM}?`) ? location.hash.slice(ROOM.length + 1) : "";
  return [...new Set(new URLSearchParams(query).getAll("filter"))];
}

export function putFiltersInAddress(filters: readonly string[]): void {
  if (location.hash !== "" && !location.hash.startsWith(ROOM)) return; // another room is open
  const query = new URLSearchParams(filters.map((filter) => ["filter", filter]));
  history.replaceState(null, "", filters.length === 0 ? ROOM : `${ROOM}?${query}`);
}
