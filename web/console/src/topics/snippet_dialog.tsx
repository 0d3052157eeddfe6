import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { Dialog } from "../ui/dialog.js";
import { Copy } from "../ui/parts.js";
import type { Snippet } from "./snippets.js";

/** Shows how to do the same from elsewhere, to be copied. */
export function SnippetButton({ title, of }: { title: string; of: () => readonly Snippet[] }): JSX.Element {
  const [open, setOpen] = useState(false);
  return (
    <>
      <button type="button" onClick={() => setOpen(true)}>
        Copy as …
      </button>
      {open && (
        <Dialog title={title} wide onClose={() => setOpen(false)}>
          {of().map(({ language, text }) => (
            <section key={language} class="snippet" aria-label={language}>
              <div class="card-head">
                <h3>{language}</h3>
                <Copy text={text} label={`Copy ${language}`} />
              </div>
              <pre tabIndex={0}>{text}</pre>
            </section>
          ))}
        </Dialog>
      )}
    </>
  );
}
