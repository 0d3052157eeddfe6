/**
 * Topics and filters in MQTT 5's grammar (OASIS MQTT 5.0, 4.7): levels separated by `/`, `+` stands for one level,
 * `#` as the last level for the rest and its parent.
 */

/** The gateway's default bounds; a gateway may be configured to others. */
export const TOPIC_BYTES = 512;
export const TOPIC_LEVELS = 32;

const utf8 = new TextEncoder();

/** The rule that `filter` breaks, in words for a person; null when it is a valid topic filter. */
export function filterProblem(filter: string): string | null {
  const problem = lengthProblem(filter, "filter");
  if (problem !== null) return problem;
  const levels = filter.split("/");
  for (const [index, level] of levels.entries()) {
    if (level === "#" && index < levels.length - 1) return "'#' must be the last level";
    if (level.length > 1 && level.includes("#")) return "'#' must be a whole level of its own";
    if (level.length > 1 && level.includes("+")) return "'+' must be a whole level of its own";
  }
  return null;
}

/** The rule that `topic` breaks as a name to publish to; null when it is valid. */
export function topicProblem(topic: string): string | null {
  const problem = lengthProblem(topic, "topic");
  if (problem !== null) return problem;
  if (/[+#]/.test(topic)) return "a topic to publish to holds no wildcard ('+', '#')";
  if (topic.startsWith("$")) return "topics that begin with '$' are the gateway's own";
  return null;
}

function lengthProblem(text: string, what: string): string | null {
  if (text === "") return `a ${what} is at least one character`;
  if (text.includes("\0")) return `a ${what} holds no NUL`;
  if (/\p{Surrogate}/u.test(text)) return `a ${what} holds no lone surrogate`;
  const bytes = utf8.encode(text).length;
  if (bytes > TOPIC_BYTES) return `a ${what} is at most ${TOPIC_BYTES} bytes (this one has ${bytes})`;
  const levels = text.split("/").length;
  if (levels > TOPIC_LEVELS) return `a ${what} has at most ${TOPIC_LEVELS} levels (this one has ${levels})`;
  return null;
}

/** Whether a publication on `topic` belongs to `filter`; both are taken to be valid. */
export function matches(filter: string, topic: string): boolean {
  const wanted = filter.split("/");
  // MQTT 5.0, 4.7.2: a filter that begins with a wildcard does not match a topic that begins with `$`.
  if (topic.startsWith("$") && (wanted[0] === "#" || wanted[0] === "+")) return false;
  const levels = topic.split("/");
  for (const [index, level] of wanted.entries()) {
    if (level === "#") return true;
    // `a/#` matches `a` too: only the final `#` may be left over.
    if (index >= levels.length) return false;
    if (level !== "+" && level !== levels[index]) {
      return false;
    }
  }
  return wanted.length === levels.length;
}
