/** The topic explorer: subscribe, watch, look into, publish. Filters, beginning and view are in the address. */
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { credential } from "../gateway/api.js";
import { href, place, setParameters } from "../router.js";
import { type Shown, MessageView } from "../ui/message.js";
import { Card, Inspector, Room, Tabs } from "../ui/parts.js";
import { MessagesView } from "./messages_view.js";
import { PublishForm } from "./publish.js";
import { listening } from "./snippets.js";
import { SnippetButton } from "./snippet_dialog.js";
import { StateView } from "./state_view.js";
import { tail } from "./tail.js";
import { type Asked, Figures, FilterForm } from "./toolbar.js";
import { TreeView } from "./tree_view.js";

/** Lists that change more often than this can't be read. */
const FRAME_MILLISECONDS = 80;
const VIEWS = [
  { id: "messages", title: "Messages" },
  { id: "tree", title: "Topics" },
  { id: "state", title: "State" },
] as const;

export function TopicsRoom(): JSX.Element {
  const { parameters } = place.value;
  const view = VIEWS.find(({ id }) => id === parameters.get("view"))?.id ?? "messages";
  const asked: Asked = { filters: [...new Set(parameters.getAll("filter"))], from: parameters.get("from") ?? "" };
  const [shown, setShown] = useState<{ id: string; message: Shown } | null>(null);
  const inspector = useRef<HTMLDivElement>(null);
  useFrames(view);
  const confirmed = tail.filters.value.map(({ filter }) => filter);

  const emptied = useRef(false);
  useEffect(() => {
    // Back from another room: what has gone on meanwhile is what the address says from now on.
    if (asked.filters.length === 0 && confirmed.length > 0 && !emptied.current)
      setParameters({ filter: confirmed, from: tail.from.value });
    else void follow(asked);
  }, [place.value]);

  const ask = (next: Asked): void => {
    emptied.current = next.filters.length === 0;
    setParameters({ filter: next.filters, from: next.from });
  };
  const select = (id: string, message: Shown): void => {
    setShown({ id, message });
    if (ONE_COLUMN.matches) inspector.current?.scrollIntoView({ block: "nearest" });
  };
  const common = { filters: asked.filters, selected: shown?.id ?? null, onSelect: select };
  return (
    <Room
      title="Topics"
      class="topics"
      actions={
        <SnippetButton
          title="Listen to this from elsewhere"
          of={() =>
            listening(
              document.baseURI.replace(/#.*/, ""),
              asked.filters.length === 0 ? ["#"] : asked.filters,
              view === "state" ? "snapshot" : asked.from,
              credential.value !== null,
            )
          }
        />
      }
    >
      <div class="split">
        <Card label="Tail" class="feed">
          <FilterForm asked={asked} onAsk={ask} />
          <div class="view-line">
            <Tabs
              label="View"
              current={view}
              tabs={VIEWS.map(({ id, title }) => ({
                id,
                title,
                href: href(["topics"], { filter: asked.filters, from: asked.from, view: id === "messages" ? "" : id }),
              }))}
            />
            <Figures
              onClear={() => {
                tail.clear();
                setShown(null);
              }}
            />
          </div>
          {view === "messages" && <MessagesView {...common} />}
          {view === "tree" && <TreeView {...common} onNarrow={(filter) => ask({ ...asked, filters: [filter] })} />}
          {view === "state" && <StateView {...common} />}
        </Card>
        <div class="aside">
          <Card title="Publish" class="publish">
            <PublishForm />
          </Card>
          <Inspector box={inspector} empty="Choose a message from the list.">
            {shown && <MessageView message={shown.message} />}
          </Inspector>
        </div>
      </div>
    </Room>
  );
}

const ONE_COLUMN = matchMedia("(max-width: 68rem)");

/** Has the tail follow what is asked; a filter that is refused leaves the address. */
async function follow(asked: Asked): Promise<void> {
  const refused = await tail.set(asked.filters, asked.from);
  if (refused.length === 0 || !["", "topics"].includes(place.value.room)) return;
  const kept = place.value.parameters.getAll("filter").filter((filter) => !refused.includes(filter));
  setParameters({ filter: kept });
}

/** Draws the room again in the browser's frames, so that a burst is drawn once and a hidden page not at all. */
function useFrames(view: string): void {
  const [, redraw] = useState(0);
  useEffect(() => {
    let last = 0;
    let tick = 0;
    let handle = requestAnimationFrame(function frame(time) {
      handle = requestAnimationFrame(frame);
      if (time - last < FRAME_MILLISECONDS) return;
      last = time;
      tick += 1;
      const taken = tail.feed.take(Date.now());
      // The counts and rates change with the clock too.
      if (taken || tick % 6 === 0) redraw(tick);
    });
    return () => cancelAnimationFrame(handle);
  }, [view]);
}
