/** Where a tail begins, as the address has it: `last:100`, `time:<ms>`, `offset:<n>`, `earliest`, or nothing. */
import type { StartFrom } from "@fanout-gateway/client";

export interface Choice {
  readonly text: string;
  readonly title: string;
}

/** What can be chosen at once; a time and an offset are asked for. */
export const CHOICES: readonly Choice[] = [
  { text: "", title: "Live only" },
  { text: "last:10", title: "Last 10, then live" },
  { text: "last:100", title: "Last 100, then live" },
  { text: "last:1000", title: "Last 1,000, then live" },
  { text: "last_per_topic:1", title: "Last of each topic, then live" },
  { text: "earliest", title: "All that is kept, then live" },
];

/** What the library is asked for; undefined for live only, or where the text says nothing. */
export function toStart(text: string): StartFrom | undefined {
  if (text === "earliest") return "earliest";
  const [kind, number = ""] = text.split(":");
  if (!/^\d{1,15}$/.test(number)) return undefined;
  const value = Number(number);
  if (kind === "time") return { time: value };
  if (value < 1) return undefined;
  if (kind === "last") return { last: value };
  if (kind === "last_per_topic" && value <= 1000) return { last_per_topic: value };
  return kind === "offset" ? { offset: value } : undefined;
}

/** In words, for one that is none of `CHOICES`. */
export function inWords(text: string): string {
  const chosen = CHOICES.find((choice) => choice.text === text);
  if (chosen !== undefined) return chosen.title;
  const [kind, number] = text.split(":");
  if (kind === "time") return `Since ${new Date(Number(number)).toLocaleString("en-GB")}`;
  return kind === "offset" ? `From offset ${number}` : text;
}
