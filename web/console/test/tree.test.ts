import { expect, it } from "vitest";
import { MOST_LEVELS, TopicTree } from "../src/topics/tree.js";

const message = (topic: string) => ({ topic, id: "1", time: 0, data: topic });
const names = (tree: TopicTree) => tree.visible(() => true).map((level) => `${"  ".repeat(level.depth)}${level.name}`);

it("has a level for each level of the topics, by name", () => {
  const tree = new TopicTree();
  for (const topic of ["orders/us", "orders/eu/created", "a"]) tree.add(message(topic), 0);
  expect(names(tree)).toEqual(["a", "orders", "  eu", "    created", "  us"]);
  expect(tree.visible(() => false).map((level) => level.name)).toEqual(["a", "orders"]);
});

it("counts what came on a level and on all below it", () => {
  const tree = new TopicTree();
  for (const topic of ["a/b", "a/b", "a"]) tree.add(message(topic), 0);
  expect(tree.visible(() => true).map((level) => [level.path, level.count])).toEqual([
    ["a", 3],
    ["a/b", 2],
  ]);
});

it("has a rate that comes near the true one, and fades", () => {
  const tree = new TopicTree();
  for (let now = 0; now < 60_000; now += 100) tree.add(message("a"), now);
  const [level] = tree.visible(() => true);
  expect(level?.rate(60_000)).toBeGreaterThan(9);
  expect(level?.rate(60_000)).toBeLessThan(11);
  expect(level?.rate(180_000)).toBe(0);
});

it("counts history without a rate", () => {
  const tree = new TopicTree();
  tree.add(message("a"), 0, true);
  expect(tree.visible(() => true).map((level) => [level.count, level.rate(0)])).toEqual([[1, 0]]);
});

it("stops growing, and says so", () => {
  const tree = new TopicTree();
  for (let number = 0; number < MOST_LEVELS + 10; number += 1) tree.add(message(`a/${number}`), 0);
  expect(tree.levels).toBe(MOST_LEVELS);
  expect(tree.full).toBe(true);
  expect(tree.visible(() => false)[0]?.count).toBe(MOST_LEVELS + 10);
});
