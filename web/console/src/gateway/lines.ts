/** Calls that take long and answer a line for each step (`application/x-ndjson`). */
import type { Progress } from "../ui/dialog.js";
import { count } from "../ui/format.js";
import { type CallOptions, Problem, address, authorization, credential, reach, refusal, toProblem } from "./api.js";

type Line<Last> =
  | { readonly done: number; readonly total: number | null }
  | { readonly code: string; readonly reason: string }
  | Last;

/**
 * The last line; `tell` hears of the others.
 *
 * @throws Problem the gateway refuses it, or can't go on: what is done stays done.
 */
export async function callInSteps<Last extends object>(
  target: string,
  options: CallOptions,
  tell: (progress: Progress) => void,
): Promise<Last> {
  const used = credential.value;
  const response = await reach(address(target, options.query), {
    method: options.method ?? "POST",
    headers: { accept: "application/x-ndjson", "content-type": "application/json", ...authorization(used) },
    ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  if (!response.ok || response.body === null) {
    const problem = await toProblem(response);
    if (response.status === 401 && used === credential.value) refusal.value = problem.code;
    throw problem;
  }
  let last: Last | null = null;
  const take = (line: string): void => {
    if (line.trim() === "") return;
    const told = JSON.parse(line) as Line<Last>;
    if ("code" in told) throw new Problem(response.status, told.code, told.reason);
    if ("done" in told) {
      const { done, total: whole } = told;
      tell({ done, whole, words: whole === null ? `${count(done)} done` : `${count(done)} of ${count(whole)}` });
    } else last = told;
  };
  let rest = "";
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    const lines = (rest + read.value).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) take(line);
  }
  take(rest);
  if (last === null) throw new Problem(0, "unreachable", "the answer broke off; what is done stays done");
  return last;
}
