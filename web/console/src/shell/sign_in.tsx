/** Signing in, and renewing while the room stays as it is. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { inWords, refusal } from "../gateway/api.js";
import {
  access,
  asksForCredentials,
  claims,
  mustRenew,
  signIn,
  signOut,
  timeLeft,
  version,
} from "../gateway/session.js";
import { duration, moment } from "../ui/format.js";
import { Field } from "../ui/parts.js";

export function SignIn(): JSX.Element {
  return (
    <div class="sign-in">
      <div class="card">
        <img src="icon.svg" alt="" width="40" height="40" />
        <h1>Sign in</h1>
        <p class="muted">
          This gateway wants to know who looks. The token stays in this page's memory and is gone with it.
        </p>
        <CredentialForm action="Sign in" />
      </div>
    </div>
  );
}

/** Asks for another credential while there is still time, and when there is none left. */
export function RenewBanner(): JSX.Element | null {
  const wanted = mustRenew.value;
  if (!wanted) return null;
  const left = timeLeft.value;
  const words =
    refusal.value !== null || (left !== null && left <= 0)
      ? "Your token is not taken any more. With another one you go on where you are."
      : `Your token runs out in ${duration(Math.max(1000, left ?? 0))}. With another one you go on without a break.`;
  return (
    <section class="banner" aria-label="Renew the token">
      <p role="alert">{words}</p>
      <CredentialForm action="Renew" />
    </section>
  );
}

export function CredentialForm({ action, onDone }: { action: string; onDone?: () => void }): JSX.Element {
  const [token, setToken] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const submit = async (): Promise<void> => {
    const given = token.trim();
    if (given === "") return setProblem("paste a token or an API key");
    // A header holds nothing else; the browser would refuse it in words of its own.
    if (!/^[\x21-\x7e]+$/.test(given)) return setProblem("a token holds no spaces and no letters beyond ASCII");
    setBusy(true);
    setProblem(null);
    try {
      await signIn(given);
      setToken("");
      onDone?.();
    } catch (error) {
      setProblem(inWords(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <form
      class="credential"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <Field label="Token or API key" problem={problem} hint="a JWT, or a key that begins with gw_">
        {(given) => (
          <input
            {...given}
            type="password"
            autocomplete="off"
            spellcheck={false}
            value={token}
            onInput={(event) => setToken(event.currentTarget.value)}
          />
        )}
      </Field>
      <button type="submit" class="primary" disabled={busy}>
        {action}
      </button>
    </form>
  );
}

/** Who is signed in, until when, and the way out. */
export function WhoAmI({ signedIn }: { signedIn: boolean }): JSX.Element {
  const [open, setOpen] = useState(false);
  const known = claims.value;
  const { value } = access;
  const name = (value.state === "open" ? value.subject : null) ?? (signedIn ? "No subject" : "Anonymous");
  return (
    <div class="who">
      <button type="button" class="quiet who-name" aria-expanded={open} onClick={() => setOpen(!open)}>
        {name}
      </button>
      {open && (
        <div class="who-more">
          {version.value !== null && <p class="muted">Gateway {version}</p>}
          {signedIn && known?.expires != null && <p class="muted">Signed in until {moment(known.expires)}</p>}
          {asksForCredentials.value ? (
            <CredentialForm action={signedIn ? "Renew" : "Sign in"} onDone={() => setOpen(false)} />
          ) : (
            <p class="muted">This gateway asks nobody who they are.</p>
          )}
          {signedIn && (
            <button type="button" onClick={signOut}>
              Sign out
            </button>
          )}
        </div>
      )}
    </div>
  );
}
