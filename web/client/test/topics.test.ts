import { describe, expect, it } from "vitest";
import { filterProblem, matches, topicProblem } from "../src/index.js";

describe("matches", () => {
  it.each([
    ["orders/eu", "orders/eu"],
    ["orders/+", "orders/eu"],
    ["orders/+", "orders/"],
    ["orders/#", "orders"],
    ["orders/#", "orders/eu/created"],
    ["#", "a/b/c"],
    ["+/+", "/"],
    ["/+", "/a"],
    ["$gateway/#", "$gateway/nodes"],
  ])("%s takes %s", (filter, topic) => expect(matches(filter, topic)).toBe(true));

  it.each([
    ["orders/eu", "orders"],
    ["orders", "orders/eu"],
    ["orders/+", "orders"],
    ["orders/+", "orders/eu/created"],
    ["+", "/a"],
    ["orders/+/#", "orders"],
    ["#", "$gateway/nodes"],
    ["+/nodes", "$gateway/nodes"],
    ["Orders", "orders"],
  ])("%s refuses %s", (filter, topic) => expect(matches(filter, topic)).toBe(false));
});

describe("the rule that a filter breaks", () => {
  it.each(["a", "/", "a//b", "+", "#", "a/+/b/#", "$gateway/#", "ä/ö"])("%s breaks none", (filter) =>
    expect(filterProblem(filter)).toBeNull(),
  );

  it.each([
    ["", "at least one character"],
    ["a/#/b", "'#' must be the last level"],
    ["a#", "'#' must be a whole level"],
    ["++", "'+' must be a whole level"],
    ["a\0b", "NUL"],
    ["\ud800", "surrogate"],
    ["ä".repeat(257), "at most 512 bytes (this one has 514)"],
    ["/".repeat(32), "at most 32 levels (this one has 33)"],
  ])("%j: %s", (filter, rule) => expect(filterProblem(filter)).toContain(rule));
});

it("a topic to publish to has no wildcard and is not the gateway's own", () => {
  expect(topicProblem("orders/eu")).toBeNull();
  expect(topicProblem("orders/+")).toContain("no wildcard");
  expect(topicProblem("$gateway/nodes")).toContain("the gateway's own");
});
