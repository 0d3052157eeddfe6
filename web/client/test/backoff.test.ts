import { expect, it } from "vitest";
import { Backoff } from "../src/backoff.js";

it("doubles the bound up to its maximum and draws below it", () => {
  const highest = new Backoff({ initial: 250, maximum: 30_000 }, () => 1);
  expect(Array.from({ length: 9 }, () => highest.next())).toEqual([
    250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000,
  ]);
  const lowest = new Backoff({}, () => 0);
  expect(lowest.next()).toBe(0);
});

it("begins anew after a success, and stays finite", () => {
  const backoff = new Backoff({ initial: 100 }, () => 1);
  for (let failure = 0; failure < 5000; failure += 1) backoff.next();
  expect(backoff.next()).toBe(30_000);
  backoff.reset();
  expect(backoff.next()).toBe(100);
});
