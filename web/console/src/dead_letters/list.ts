/** The dead letters of a group as they are listed: page by page, as far as somebody reads. */
import { useEffect, useRef, useState } from "preact/hooks";
import { inWords } from "../gateway/api.js";
import type { Group } from "../queues/groups.js";
import { type Letter, type Search, listLetters } from "./letters.js";

export interface LetterList {
  readonly letters: readonly Letter[];
  readonly more: boolean;
  readonly loading: boolean;
  readonly problem: string | null;
  /** Whether there have come or gone some since. */
  readonly stale: boolean;
  readonly loadMore: () => void;
  readonly reload: () => void;
}

/** More than this is no list that anybody reads. */
const MOST = 10_000;
/** A search looks at many letters for few: so many pages are asked for until it has found some. */
const EMPTY_PAGES = 50;

export function useLetters(group: Group, search: Search): LetterList {
  const [letters, setLetters] = useState<readonly Letter[]>([]);
  const [loading, setLoading] = useState(true);
  const [problem, setProblem] = useState<string | null>(null);
  const next = useRef<string | null>(null);
  const stop = useRef(new AbortController());
  const [round, setRound] = useState(0);
  const latest = useRef(group.dead);
  latest.current = group.dead;
  const known = useRef(group.dead);
  const load = async (known: readonly Letter[], signal: AbortSignal): Promise<void> => {
    setLoading(true);
    try {
      let all = known;
      for (let empty = 0; empty < EMPTY_PAGES && all.length === known.length; empty += 1) {
        const page = await listLetters(group, search, next.current, signal);
        all = [...all, ...page.items];
        next.current = page.next;
        setLetters(all);
        if (page.next === null || all.length >= MOST) break;
      }
      setProblem(null);
    } catch (error) {
      if (!signal.aborted) setProblem(inWords(error));
    }
    if (!signal.aborted) setLoading(false);
  };
  useEffect(() => {
    const controller = new AbortController();
    stop.current = controller;
    next.current = null;
    known.current = latest.current;
    void load([], controller.signal);
    return () => controller.abort();
  }, [search.filter, search.contains, round]);
  return {
    // Loading it by itself would take the list away from who reads it.
    stale: !loading && known.current !== group.dead,
    letters,
    more: next.current !== null,
    loading,
    problem,
    loadMore: () => {
      if (!loading && next.current !== null && letters.length < MOST) void load(letters, stop.current.signal);
    },
    reload: () => setRound((times) => times + 1),
  };
}
