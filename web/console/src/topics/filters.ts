import { type Client, type Subscription, filterProblem } from "@fanout-gateway/client";
import { element, field } from "../dom.js";

/** What the filters tell the room. */
export interface FilterEvents {
  readonly changed: (filters: readonly string[]) => void;
}

interface Chip {
  readonly root: HTMLElement;
  readonly count: HTMLElement;
  messages: number;
  subscription: Subscription | null;
}

/** The form that subscribes, and a chip with its own count for each filter that is subscribed. */
export class Filters {
  readonly root: HTMLElement;
  readonly #chips = new Map<string, Chip>();
  readonly #list = element("ul", { class: "chips", "aria-label": "Subscribed filters" });
  readonly #input = element("input", {
    name: "filter",
    autocomplete: "off",
    spellcheck: "false",
    autocapitalize: "none",
    placeholder: "orders/#",
    required: true,
  });
  readonly #tell: (problem: string) => void;

  constructor(
    private readonly client: Client,
    private readonly events: FilterEvents,
  ) {
    const hint = "'+' stands for one level, '#' at the end for all that follow";
    const { root, tell } = field("Topic filter", this.#input, hint);
    this.#tell = tell;
    const submit = element("button", { type: "submit", class: "primary" }, "Subscribe");
    const form = element("form", { class: "inline", novalidate: true }, root, submit);
    this.#input.addEventListener("input", () => {
      tell(this.#input.value === "" ? "" : (filterProblem(this.#input.value) ?? ""));
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#submit();
    });
    this.root = element("section", { "aria-label": "Subscribe" }, form, this.#list);
  }

  /** Subscribes; true if the gateway has confirmed it. */
  async add(filter: string): Promise<boolean> {
    const chip = this.#chip(filter);
    this.#chips.set(filter, chip);
    this.#list.append(chip.root);
    try {
      const subscription = await this.client.subscribe(filter, { onMessage: () => void (chip.messages += 1) });
      chip.subscription = subscription;
      chip.root.classList.remove("pending");
      if (this.#chips.get(filter) !== chip) await subscription.unsubscribe(); // removed while it was pending
      else this.#changed();
      return true;
    } catch (error) {
      this.#drop(filter, chip);
      this.#tell(error instanceof Error ? error.message : String(error));
      return false;
    }
  }

  /** Shows the counts as they are now. */
  refresh(): void {
    for (const { count, messages } of this.#chips.values()) {
      const text = messages.toLocaleString();
      if (count.textContent !== text) count.textContent = text;
    }
  }

  async #submit(): Promise<void> {
    const filter = this.#input.value;
    const problem = this.#chips.has(filter) ? `already subscribed to ${filter}` : filterProblem(filter);
    this.#tell(problem ?? "");
    if (problem !== null) {
      this.#input.focus();
      return;
    }
    if (await this.add(filter)) {
      if (this.#input.value === filter) this.#input.value = "";
    }
  }

  #chip(filter: string): Chip {
    const count = element("span", { class: "count" }, "0");
    const remove = element("button", { type: "button", "aria-label": `Unsubscribe from ${filter}` }, "×");
    const root = element("li", { class: "chip pending" }, element("code", {}, filter), count, remove);
    const chip: Chip = { root, count, messages: 0, subscription: null };
    remove.addEventListener("click", () => {
      this.#drop(filter, chip);
      this.#input.focus();
      chip.subscription?.unsubscribe().catch((error: unknown) => this.#tell(String(error)));
    });
    return chip;
  }

  #drop(filter: string, chip: Chip): void {
    chip.root.remove();
    if (this.#chips.get(filter) === chip) this.#chips.delete(filter);
    this.#changed();
  }

  #changed(): void {
    this.events.changed([...this.#chips.keys()]);
  }
}

