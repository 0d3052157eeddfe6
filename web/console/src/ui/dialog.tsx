/** Modal dialogs: the browser's own, which keeps the focus in and gives it back. */
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { inWords } from "../gateway/api.js";
import { Notice } from "./parts.js";

interface DialogProps {
  readonly title: string;
  readonly onClose: () => void;
  readonly wide?: boolean;
  readonly children: ComponentChildren;
}

export function Dialog({ title, onClose, wide = false, children }: DialogProps): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const opener = document.activeElement;
    dialog.current?.showModal();
    return () => {
      if (opener instanceof HTMLElement && opener.isConnected) opener.focus();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      class={wide ? "wide" : ""}
      aria-labelledby={id}
      onClose={onClose}
      onClick={(event) => {
        if (event.target === dialog.current) dialog.current?.close();
      }}
    >
      <div class="dialog-body">
        <div class="card-head">
          <h2 id={id}>{title}</h2>
          <button type="button" class="quiet" aria-label="Close" onClick={() => dialog.current?.close()}>
            ✕
          </button>
        </div>
        {children}
      </div>
    </dialog>
  );
}

interface ConfirmProps {
  readonly title: string;
  readonly children: ComponentChildren;
  readonly action: string;
  readonly dangerous?: boolean;
  /** What would happen, asked of the gateway before anything does. */
  readonly rehearse?: (signal: AbortSignal) => Promise<string>;
  /** Does it; what it says while it lasts is shown, and what it returns at the end. */
  readonly perform: (tell: (progress: Progress) => void, signal: AbortSignal) => Promise<string>;
  readonly onClose: () => void;
}

export interface Progress {
  readonly done: number;
  /** Null where nobody knows. */
  readonly whole: number | null;
  readonly words: string;
}

type Stage =
  | { readonly name: "rehearsing" }
  | { readonly name: "ready"; readonly forecast: string | null }
  | { readonly name: "working"; readonly progress: Progress | null }
  | { readonly name: "done"; readonly result: string }
  | { readonly name: "failed"; readonly reason: string };

/** Asks before something is done: first what it would do, then how far it is, then what became of it. */
export function Confirm(props: ConfirmProps): JSX.Element {
  const [stage, setStage] = useState<Stage>({
    name: props.rehearse === undefined ? "ready" : "rehearsing",
    forecast: null,
  } as Stage);
  const stop = useRef(new AbortController());
  useEffect(() => {
    const controller = stop.current;
    props
      .rehearse?.(controller.signal)
      .then((forecast) => setStage({ name: "ready", forecast }))
      .catch((error: unknown) => setStage({ name: "failed", reason: inWords(error) }));
    return () => controller.abort();
  }, []);
  const perform = async (): Promise<void> => {
    setStage({ name: "working", progress: null });
    try {
      const result = await props.perform((progress) => setStage({ name: "working", progress }), stop.current.signal);
      setStage({ name: "done", result });
    } catch (error) {
      if (!stop.current.signal.aborted) setStage({ name: "failed", reason: inWords(error) });
    }
  };
  const over = stage.name === "done" || stage.name === "failed";
  return (
    <Dialog title={props.title} onClose={props.onClose}>
      {props.children}
      <div class="outcome" aria-live="polite">
        {stage.name === "rehearsing" && <p>Asking what that would do …</p>}
        {stage.name === "ready" && stage.forecast !== null && <p class="forecast">{stage.forecast}</p>}
        {stage.name === "working" && <Working progress={stage.progress} />}
        {stage.name === "done" && <Notice kind="good">{stage.result}</Notice>}
        {stage.name === "failed" && <Notice>{stage.reason}</Notice>}
      </div>
      <div class="dialog-actions">
        {!over && (
          <button
            type="button"
            class={props.dangerous === true ? "danger" : "primary"}
            disabled={stage.name !== "ready"}
            onClick={() => void perform()}
          >
            {props.action}
          </button>
        )}
        <button type="button" onClick={props.onClose}>
          {over ? "Close" : stage.name === "working" ? (stage.progress === null ? "Close" : "Stop") : "Cancel"}
        </button>
      </div>
    </Dialog>
  );
}

function Working({ progress }: { progress: Progress | null }): JSX.Element {
  if (progress === null) {
    return (
      <p>
        <progress aria-label="Progress" /> Working …
      </p>
    );
  }
  return (
    <p>
      <progress
        aria-label="Progress"
        {...(progress.whole === null ? {} : { max: Math.max(1, progress.whole), value: progress.done })}
      />{" "}
      {progress.words}
    </p>
  );
}
