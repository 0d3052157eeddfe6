/** What administrators did, on all nodes, the newest first. */
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { call, inWords } from "../gateway/api.js";
import { place } from "../router.js";
import { count, moment, plural } from "../ui/format.js";
import { Card, Facts, Narrowing, Notice, Room, Tag } from "../ui/parts.js";
import { type Column, Table } from "../ui/table.js";

/** As `GET /v1/audit` tells of one (docs/http.md, "Audit"). */
interface Deed {
  readonly time: number;
  readonly node: string;
  readonly number: number;
  readonly subject: string | null;
  readonly peer: string;
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly detail: Readonly<Record<string, unknown>> | null;
}

interface Page {
  readonly records: readonly Deed[];
  readonly next: string | number | null;
  readonly missing: readonly string[];
}

const PER_PAGE = 200;

const COLUMNS: readonly Column<Deed>[] = [
  { id: "time", title: "Time", width: "8rem", kind: "number", cell: ({ time }) => moment(time) },
  {
    id: "subject",
    title: "Who",
    width: "minmax(5rem, 1fr)",
    wide: true,
    cell: ({ subject }) => subject ?? <span class="muted">anonymous</span>,
  },
  {
    id: "call",
    title: "Call",
    width: "minmax(9rem, 4fr)",
    kind: "code",
    cell: ({ method, path }) => `${method} ${path}`,
  },
  {
    id: "status",
    title: "Answer",
    width: "4.5rem",
    cell: ({ status }) => <Tag kind={status < 300 ? "good" : status < 500 ? "warn" : "bad"}>{status}</Tag>,
  },
  {
    id: "detail",
    title: "What",
    width: "minmax(6rem, 3fr)",
    kind: "code",
    wide: true,
    cell: ({ detail }) => (detail === null ? "" : JSON.stringify(detail)),
  },
  { id: "node", title: "Node", width: "6.5rem", kind: "code", wide: true, cell: ({ node }) => node },
];

function nameOf(deed: Deed): string {
  return `${deed.node} ${deed.number}`;
}

export function AuditRoom(): JSX.Element {
  const [deeds, setDeeds] = useState<readonly Deed[]>([]);
  const [missing, setMissing] = useState<readonly string[]>([]);
  const [problem, setProblem] = useState<string | null>(null);
  const [loading, setLoading] = useState(true);
  const [round, setRound] = useState(0);
  const [chosen, setChosen] = useState<Deed | null>(null);
  const next = useRef<Page["next"]>(null);
  const load = async (known: readonly Deed[], signal?: AbortSignal): Promise<void> => {
    setLoading(true);
    try {
      const page = await call<Page>("v1/audit", {
        query: { limit: PER_PAGE, before: next.current },
        ...(signal === undefined ? {} : { signal }),
      });
      next.current = page.next;
      setDeeds([...known, ...page.records]);
      setMissing(page.missing);
      setProblem(null);
    } catch (error) {
      if (signal?.aborted === true) return;
      setProblem(inWords(error));
    }
    setLoading(false);
  };
  useEffect(() => {
    const stop = new AbortController();
    next.current = null;
    void load([], stop.signal);
    return () => stop.abort();
  }, [round]);
  const search = place.value.parameters.get("search") ?? "";
  const needle = search.toLowerCase();
  const rows =
    needle === ""
      ? deeds
      : deeds.filter((each) =>
          `${each.subject ?? "anonymous"} ${each.method} ${each.path} ${JSON.stringify(each.detail)}`
            .toLowerCase()
            .includes(needle),
        );
  return (
    <Room
      title="Audit"
      aside={<span>what administrators changed, or tried to; each node keeps its last 1,000</span>}
      actions={
        <button type="button" onClick={() => setRound((times) => times + 1)}>
          Refresh
        </button>
      }
    >
      {problem !== null && <Notice>{problem}</Notice>}
      {missing.length > 0 && (
        <Notice kind="warn">{plural(missing.length, "node")} did not answer: their records are missing.</Notice>
      )}
      <div class={chosen === null ? "fill" : "split"}>
        <div class="fill">
          <form
            class="line-form"
            role="search"
            aria-label="Search the audit"
            onSubmit={(event) => event.preventDefault()}
          >
            <Narrowing label="Search" name="search" />
            <span class="muted level-with-controls" role="status">
              {loading ? "Loading …" : `${count(rows.length)} shown${next.current === null ? "" : ", more below"}`}
            </span>
          </form>
          <Table
            label="Audit, newest first"
            rows={rows}
            columns={COLUMNS}
            id={nameOf}
            selected={chosen === null ? null : nameOf(chosen)}
            onSelect={setChosen}
            onEnd={() => {
              if (!loading && next.current !== null) void load(deeds);
            }}
            empty={loading ? "Loading …" : needle === "" ? "Nobody has changed anything." : "No record matches."}
          />
        </div>
        {chosen !== null && (
          <div class="aside">
            <Card title="Record">
              <Facts
                of={[
                  ["Time", new Date(chosen.time).toISOString()],
                  ["Who", chosen.subject ?? "anonymous"],
                  ["From", <code>{chosen.peer}</code>],
                  ["Call", <code>{`${chosen.method} ${chosen.path}`}</code>],
                  ["Answer", String(chosen.status)],
                  ["Node", `${chosen.node}, no. ${chosen.number}`],
                ]}
              />
              <pre tabIndex={0} aria-label="Detail">
                {JSON.stringify(chosen.detail, null, 2)}
              </pre>
            </Card>
          </div>
        )}
      </div>
    </Room>
  );
}
