import { element } from "./dom.js";

const KEY = "fanout-gateway.theme";
const THEMES = ["auto", "light", "dark"] as const;

/** A button that goes through: as the system has it, light, dark; the choice is kept in this browser. */
export function themeButton(): HTMLElement {
  const button = element("button", { type: "button", class: "quiet" });
  let theme = THEMES.find((known) => known === stored()) ?? "auto";
  const show = (): void => {
    document.documentElement.dataset["theme"] = theme;
    button.textContent = `Theme: ${theme}`;
  };
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? "auto";
    store(theme);
    show();
  });
  show();
  return button;
}

// Storage throws where the browser forbids it to this page; the choice then lasts as long as the page.
function stored(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

function store(theme: string): void {
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // see above
  }
}
