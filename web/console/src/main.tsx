/** The console's start. */
import { render } from "preact";
import { begin } from "./gateway/session.js";
import { follow } from "./gateway/statistics.js";
import { App } from "./shell/app.js";

const root = document.querySelector("#app");
if (root !== null) {
  root.replaceChildren();
  render(<App />, root);
}
follow();
void begin();
