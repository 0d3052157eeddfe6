/** The effective settings with where each comes from, and taking up what has changed. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { call } from "../gateway/api.js";
import { usePoll } from "../gateway/poll.js";
import { type Setting, type Settings, readSettings } from "../gateway/settings.js";
import { place, setParameters } from "../router.js";
import { Confirm } from "../ui/dialog.js";
import { count } from "../ui/format.js";
import { Answer, Card, Facts, Narrowing, Room, Tag } from "../ui/parts.js";
import { type Column, Table } from "../ui/table.js";

export function SettingsRoom(): JSX.Element {
  const poll = usePoll("settings", 0, readSettings);
  const { parameters } = place.value;
  const node = poll.state.value.value?.node;
  return (
    <Room
      title="Settings"
      aside={node !== undefined && <span>of node {node}, which answers</span>}
      actions={<Reload onDone={poll.refresh} />}
    >
      <Answer of={poll.state.value}>
        {(settings) => (
          <List
            settings={settings}
            search={parameters.get("search") ?? ""}
            changed={parameters.get("changed") === "yes"}
            chosen={parameters.get("name")}
          />
        )}
      </Answer>
    </Room>
  );
}

const COLUMNS: readonly Column<Setting>[] = [
  {
    id: "name",
    title: "Setting",
    width: "minmax(9rem, 2fr)",
    kind: "code",
    cell: ({ name }) => name,
    order: ({ name }) => name,
  },
  { id: "value", title: "Value", width: "minmax(7rem, 2fr)", kind: "code", cell: ({ value }) => inOneLine(value) },
  {
    id: "source",
    title: "Source",
    width: "minmax(6rem, 1fr)",
    cell: ({ source }) =>
      source === "default" ? <span class="muted">default</span> : <Tag kind="accent">{source}</Tag>,
    order: ({ source }) => source,
  },
  {
    id: "default",
    title: "Default",
    width: "minmax(5rem, 1fr)",
    kind: "code",
    wide: true,
    cell: (each) => (each.source === "default" ? "" : inOneLine(each.default)),
  },
];

function List({
  settings: { settings },
  search,
  changed,
  chosen,
}: {
  settings: Settings;
  search: string;
  changed: boolean;
  chosen: string | null;
}): JSX.Element {
  const needle = search.toLowerCase();
  const rows = settings.filter(
    (each) =>
      (!changed || each.source !== "default") &&
      (needle === "" || `${each.name} ${inOneLine(each.value)} ${each.source}`.toLowerCase().includes(needle)),
  );
  const setting = settings.find(({ name }) => name === chosen);
  return (
    <div class={setting === undefined ? "fill" : "split"}>
      <div class="fill">
        <form class="line-form" role="search" aria-label="Search settings" onSubmit={(event) => event.preventDefault()}>
          <Narrowing label="Search" name="search" />
          <label class="check level-with-controls">
            <input
              type="checkbox"
              checked={changed}
              onChange={(event) => setParameters({ changed: event.currentTarget.checked ? "yes" : null })}
            />
            only those that are not the default
          </label>
          <span class="muted level-with-controls" role="status">
            {count(rows.length)} of {count(settings.length)}
          </span>
        </form>
        <Table
          label="Settings"
          rows={rows}
          columns={COLUMNS}
          id={({ name }) => name}
          selected={chosen}
          onSelect={({ name }) => setParameters({ name })}
          empty="No setting matches."
        />
      </div>
      {setting !== undefined && (
        <div class="aside">
          <Card title={setting.name}>
            <Facts of={[["Source", setting.source]]} />
            <h3>Value</h3>
            <pre tabIndex={0} aria-label="Value">
              {JSON.stringify(setting.value, null, 2)}
            </pre>
            <h3>Default</h3>
            <pre tabIndex={0} aria-label="Default">
              {JSON.stringify(setting.default, null, 2)}
            </pre>
          </Card>
        </div>
      )}
    </div>
  );
}

function inOneLine(value: unknown): string {
  if (value === null || value === undefined) return "none";
  if (typeof value === "string") return value;
  if (Array.isArray(value) && value.length > 0 && typeof value[0] === "object") {
    return `${count(value.length)}: ${value.map((each: Readonly<Record<string, unknown>>) => String(each["name"] ?? "?")).join(", ")}`;
  }
  return JSON.stringify(value);
}

interface Taken {
  readonly taken: readonly string[];
  readonly restart: readonly string[];
}

function Reload({ onDone }: { onDone: () => void }): JSX.Element {
  const [open, setOpen] = useState(false);
  return (
    <>
      <button type="button" onClick={() => setOpen(true)}>
        Reload …
      </button>
      {open && (
        <Confirm
          title="Read the settings again?"
          action="Reload"
          onClose={() => setOpen(false)}
          perform={async () => {
            const { taken, restart } = await call<Taken>("v1/reload", { method: "POST" });
            onDone();
            const first =
              taken.length === 0
                ? "Nothing that can change while it runs has changed."
                : `Counts from now on: ${taken.join(", ")}.`;
            return restart.length === 0 ? first : `${first} Needs a restart: ${restart.join(", ")}.`;
          }}
        >
          <p>
            The node that answers reads its file and environment again, and takes up what can change without dropping a
            client.
          </p>
        </Confirm>
      )}
    </>
  );
}
