import { type Client, topicProblem } from "@fanout-gateway/client";
import { element, field } from "../dom.js";
import { publishBody } from "./publish_body.js";

const CONTENT_TYPES = ["application/json", "text/plain", "application/octet-stream"];

/** The form that publishes one message. */
export function publishForm(client: Client): HTMLElement {
  const topic = element("input", { name: "topic", autocomplete: "off", spellcheck: "false", placeholder: "orders/eu/created" });
  const types = element("datalist", { id: "content-types" }, ...CONTENT_TYPES.map((value) => element("option", { value })));
  const contentType = element("input", { name: "content_type", value: "application/json", list: types.id });
  const body = element("textarea", { name: "body", rows: 4, spellcheck: "false" }, '{"total": 42}');
  const base64 = element("input", { type: "checkbox", name: "base64" });
  const outcome = element("output", { class: "hint" });
  const topicField = field("Topic", topic);
  const bodyField = field("Body", body, "Ctrl+Enter publishes");
  const form = element(
    "form",
    { novalidate: true },
    topicField.root,
    field("Content type", contentType).root,
    types,
    bodyField.root,
    element("label", { class: "check" }, base64, " the body above is base64 of bytes"),
    element("div", { class: "submit" }, element("button", { type: "submit", class: "primary" }, "Publish"), outcome),
  );

  const publish = async (): Promise<void> => {
    const problem = topicProblem(topic.value);
    topicField.tell(problem ?? "");
    bodyField.tell("");
    if (problem !== null) return topic.focus();
    let data: unknown;
    try {
      data = publishBody(body.value, contentType.value, base64.checked);
    } catch (error) {
      bodyField.tell((error as Error).message);
      return body.focus();
    }
    await send(topic.value, data);
  };
  const send = async (to: string, data: unknown): Promise<void> => {
    outcome.className = "hint";
    outcome.textContent = "Publishing …";
    try {
      const receipt = await client.publish(to, data, { contentType: contentType.value.trim() || defaultType(data) });
      const place = receipt.stream === undefined ? "" : ` as ${receipt.stream} @ ${receipt.offset ?? "?"}`;
      outcome.textContent = `Published${place}: ${receipt.id}`;
    } catch (error) {
      outcome.className = "hint problem";
      outcome.textContent = error instanceof Error ? error.message : String(error);
    }
  };
  topic.addEventListener("input", () => topicField.tell(topic.value === "" ? "" : (topicProblem(topic.value) ?? "")));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void publish();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  return element("section", { class: "card", "aria-label": "Publish" }, element("h2", {}, "Publish"), form);
}

function defaultType(data: unknown): string {
  return data instanceof Uint8Array ? "application/octet-stream" : "application/json";
}
