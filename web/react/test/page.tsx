/** What the page does in the browser: hydrates what the server has rendered, or renders. */
import { Client } from "@fanout-gateway/client";
import { createRoot, hydrateRoot } from "react-dom/client";
import { App, Owning } from "./app.js";

const root = document.getElementById("root") as HTMLElement;
const { searchParams } = new URL(location.href);
const url = searchParams.get("gateway") ?? "/";
if (searchParams.has("owning")) createRoot(root).render(<Owning url={url} />);
else hydrateRoot(root, <App client={new Client(url, { backoff: { initial: 20, maximum: 200 } })} />);
