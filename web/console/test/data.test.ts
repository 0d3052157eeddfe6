import { expect, it } from "vitest";
import { EventParser, type ServerEvent } from "../src/gateway/events.js";
import { COVER, masked } from "../src/gateway/mask.js";
import { toStart } from "../src/topics/beginning.js";
import { listening, publishing, shell } from "../src/topics/snippets.js";
import { count, duration, short, size } from "../src/ui/format.js";

function parse(...texts: string[]): ServerEvent[] {
  const heard: ServerEvent[] = [];
  const parser = new EventParser((event) => heard.push(event));
  for (const text of texts) parser.push(text);
  return heard;
}

it("events are whole wherever the text was cut", () => {
  const text = 'retry: 5\n\n: comment\nid: 7\nevent: statistics\ndata: {"a":1}\n\ndata: x\ndata: y\n\n';
  const whole = parse(text);
  expect(whole).toEqual([
    { name: "statistics", data: '{"a":1}', id: "7" },
    { name: "message", data: "x\ny", id: "7" },
  ]);
  for (let cut = 0; cut <= text.length; cut += 1) expect(parse(text.slice(0, cut), text.slice(cut))).toEqual(whole);
  expect(parse(text.replaceAll("\n", "\r\n"))).toEqual(whole);
});

it("an event that is not finished is none", () => {
  expect(parse("data: 1\n")).toEqual([]);
});

it("what a path names is covered, and nothing else", () => {
  const value = { card: { number: "4111", name: "Ann" }, items: [{ price: 1, of: { password: "p" } }], password: "q" };
  expect(masked(value, ["$.card.number"])).toEqual({ ...value, card: { number: COVER, name: "Ann" } });
  expect(masked(value, ["$.items[*].price"])).toMatchObject({ items: [{ price: COVER }] });
  expect(masked(value, ["$.items[0]"])).toMatchObject({ items: [COVER] });
  expect(masked(value, ["$..password"])).toMatchObject({ password: COVER, items: [{ of: { password: COVER } }] });
  expect(masked(value, ["$['card']['number']"])).toMatchObject({ card: { number: COVER } });
  expect(masked(value, ['$["card"]["number"]'])).toMatchObject({ card: { number: COVER } });
  expect(masked(value, ["$.absent.field"])).toEqual(value);
  expect(masked("text", ["$.a"])).toBe("text");
  expect(masked({ a: 1 }, ["$"])).toBe(COVER);
  expect(value.card.number).toBe("4111");
});

it("a beginning in the address is what the library takes, or nothing", () => {
  expect(toStart("last:5")).toEqual({ last: 5 });
  expect(toStart("time:0")).toEqual({ time: 0 });
  expect(toStart("earliest")).toBe("earliest");
  expect(["", "last:0", "last:-1", "nonsense", "last_per_topic:5000", "offset:x"].map(toStart)).toEqual(
    new Array(6).fill(undefined),
  );
});

it("what is copied can be pasted, whatever a filter or a body holds", () => {
  expect(shell("it's")).toBe(`'it'\\''s'`);
  const [curl, python, typescript] = listening("http://g/", ["a/#", 'q"'], "last:5", true);
  expect(curl?.text).toContain("filter=a%2F%23&filter=q%22&from=last%3A5");
  expect(curl?.text).toContain("$TOKEN");
  expect(python?.text).toContain('["a/#","q\\""]');
  expect(python?.text).toContain('start={"last": 5}');
  expect(typescript?.text).toContain("from: { last: 5 }");
  const [publish] = publishing(
    "http://g/",
    { topic: "a b/c", contentType: "text/plain", body: "it's", base64: false },
    false,
  );
  expect(publish?.text).toContain("v1/topics/a%20b/c");
  expect(publish?.text).toContain(`--data-raw 'it'\\''s'`);
  expect(publish?.text).not.toContain("TOKEN");
});

it("a snippet runs nothing that a link or a message says", () => {
  for (const from of ["last:1}) or exit(1) or dict({2", "x:y", "last:1e3", "earliest ", "offset:0", "time:1\nexit()"]) {
    for (const { text } of listening("http://g/", ["a"], from, false)) {
      expect(text).not.toMatch(/exit|start|from[=:]|y}/);
    }
  }
  const form = { topic: "a", contentType: "text/plain", body: "@/etc/passwd", base64: false };
  const texts = (changes: object) => publishing("http://g/", { ...form, ...changes }, false).map(({ text }) => text);
  // curl reads the file that the argument of --data, --data-binary or --data-ascii names behind an "@".
  expect(texts({})[0]).toContain("--data-raw '@/etc/passwd'");
  const json = { contentType: "application/json" };
  expect(texts({ ...json, body: "1}); exit(" })[2]).toContain('client.publish("a", JSON.parse("1}); exit("), {');
  expect(texts({ ...json, body: ' {"x": 1} ' })[2]).toContain('client.publish("a", {"x": 1}, {');
});

it("a snippet of the state begins with what there is", () => {
  const [curl, python, typescript] = listening("http://g/", ["a"], "snapshot", false).map(({ text }) => text);
  expect(curl).toContain("filter=a&from=snapshot'");
  expect(python).toContain('client.subscribe(topic_filter, start="snapshot")');
  expect(typescript).toContain('from: "snapshot",');
});

it("a snippet publishes what the page would", () => {
  const form = { topic: "a/../b", contentType: "application/xml", body: "<a/>", base64: false };
  const [curl, , typescript] = publishing("http://g/", form, false);
  // Of a path as it is the gateway says why not; curl by itself would publish to another topic.
  expect(curl?.text).toContain("curl --path-as-is 'http://g/v1/topics/a/../b'");
  expect(typescript?.text).toContain('new TextEncoder().encode("<a/>")');
});

it("figures are short and exact enough", () => {
  expect([0, 7, 0.4, 950, 1234, 12_345, 2_000_000].map(short)).toEqual(["0", "7", "0.4", "950", "1.2k", "12k", "2M"]);
  expect([0, 512, 1536, 5 * 1024 ** 3].map(size)).toEqual(["0 B", "512 B", "1.5 KiB", "5 GiB"]);
  expect([0.5, 340, 2500, 59_000, 61_000, 7_500_000, 90_000_000].map(duration)).toEqual([
    "0.50 ms",
    "340 ms",
    "2.5 s",
    "59 s",
    "1 min",
    "2 h 5 min",
    "1 d 1 h",
  ]);
  expect([null, 1_234_567].map(count)).toEqual(["–", "1,234,567"]);
});
