import type { Message } from "@fanout-gateway/client";
import { element } from "../dom.js";
import { bodyBytes, bodyKind, pretty, size } from "./body.js";

/** More than this of a body is not shown: laying it out would freeze the page. */
const SHOWN_CHARACTERS = 200_000;

/** Where the page has one column (styles/topics.css), and the inspector stands beneath the list. */
const ONE_COLUMN = matchMedia("(max-width: 60rem)");

/** One message in full. */
export class Inspector {
  readonly root: HTMLElement;
  readonly #content = element("div", { class: "inspected" });

  constructor() {
    this.root = element("section", { class: "card inspector", "aria-label": "Inspector" }, element("h2", {}, "Inspect"), this.#content);
    this.clear();
  }

  clear(): void {
    this.#content.replaceChildren(element("p", { class: "empty" }, "Choose a message from the list."));
  }

  show(message: Message): void {
    const kind = bodyKind(message.data, message.contentType);
    const facts: [string, string | undefined][] = [
      ["Topic", message.topic],
      ["Id", message.id],
      ["Time", new Date(message.time).toISOString()],
      ["Content type", message.contentType ?? "not stated"],
      ["Size", size(bodyBytes(message.data, kind))],
      ["Key", message.key],
      ["Position", message.stream === undefined ? undefined : `${message.stream} @ ${message.offset ?? "?"}`],
      ...Object.entries(message.headers ?? {}).map(([name, value]): [string, string] => [`Header ${name}`, value]),
    ];
    const text = pretty(message.data, kind);
    const cut = text.length > SHOWN_CHARACTERS;
    const body = element("pre", { tabindex: 0, "aria-label": "Body" }, cut ? text.slice(0, SHOWN_CHARACTERS) : text);
    this.#content.replaceChildren(factList(facts), copyButton(text), body);
    if (cut) this.#content.append(element("p", { class: "hint" }, "The rest is left out here; Copy has it all."));
    if (ONE_COLUMN.matches) this.root.scrollIntoView({ block: "nearest" });
  }
}

function factList(facts: readonly [string, string | undefined][]): HTMLElement {
  const list = element("dl");
  for (const [name, value] of facts) {
    if (value !== undefined) list.append(element("dt", {}, name), element("dd", {}, value));
  }
  return list;
}

function copyButton(text: string): HTMLElement {
  const button = element("button", { type: "button", class: "quiet" }, "Copy body");
  button.addEventListener("click", () => {
    // Browsers offer the clipboard to secure pages only; on another one the button says so.
    const copied = navigator.clipboard?.writeText(text) ?? Promise.reject(new Error("no clipboard"));
    copied.then(
      () => (button.textContent = "Copied"),
      () => (button.textContent = "The browser does not allow it"),
    );
  });
  return button;
}
