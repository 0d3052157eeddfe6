/** Calls that take long and answer a line for each step (`application/x-ndjson`). */
import { type CallOptions, Problem, address, authorization, credential, reach, refusal, toProblem } from "./api.js";

interface Step {
  readonly done?: number;
  readonly total?: number | null;
  readonly count?: number;
  readonly code?: string;
  readonly reason?: string;
}

/** The last line's `count`; `onStep` hears of the others. Throws where the gateway can't go on: what is done stays done. */
export async function callInSteps(
  target: string,
  options: CallOptions,
  onStep: (done: number, total: number | null) => void,
): Promise<number> {
  const used = credential.value;
  const response = await reach(address(target, options.query), {
    method: options.method ?? "POST",
    headers: { accept: "application/x-ndjson", "content-type": "application/json", ...authorization(used) },
    body: JSON.stringify(options.body ?? {}),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  if (!response.ok || response.body === null) {
    const problem = await toProblem(response);
    if (response.status === 401 && used === credential.value) refusal.value = problem.code;
    throw problem;
  }
  let count: number | null = null;
  const take = (line: string): void => {
    if (line.trim() === "") return;
    const step = JSON.parse(line) as Step;
    if (step.code !== undefined) throw new Problem(response.status, step.code, step.reason ?? step.code);
    if (step.count !== undefined) count = step.count;
    else onStep(step.done ?? 0, step.total ?? null);
  };
  let rest = "";
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    const lines = (rest + read.value).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) take(line);
  }
  take(rest);
  if (count === null) throw new Problem(0, "unreachable", "the answer broke off; what is done stays done");
  return count;
}
