/** Elements made in code. Text is only ever set as text: what a publisher sends is never read as markup. */

type Attributes = Record<string, string | boolean | number>;
type Child = Node | string;

/** A new element; `true` sets an attribute without a value, `false` leaves it out. */
export function element<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag);
  setAttributes(made, attributes);
  made.append(...children);
  return made;
}

export function svg(tag: string, attributes: Attributes = {}, ...children: Node[]): SVGElement {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  setAttributes(made, attributes);
  made.append(...children);
  return made;
}

export function setAttributes(target: Element, attributes: Attributes): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false) target.removeAttribute(name);
    else target.setAttribute(name, value === true ? "" : String(value));
  }
}

let labelled = 0;

/** A control with its label and a line beneath it for what is wrong with it, tied together for screen readers. */
export function field(label: string, control: HTMLElement, hint = ""): { root: HTMLElement; tell: (problem: string) => void } {
  const id = `field-${++labelled}`;
  const line = element("span", { id: `${id}-hint`, class: "hint", "aria-live": "polite" }, hint);
  setAttributes(control, { id, "aria-describedby": line.id });
  const root = element("div", { class: "field" }, element("label", { for: id }, label), control, line);
  const tell = (problem: string): void => {
    line.textContent = problem === "" ? hint : problem;
    line.classList.toggle("problem", problem !== "");
    control.setAttribute("aria-invalid", String(problem !== ""));
  };
  return { root, tell };
}
