import { svg } from "../dom.js";

const WIDTH = 120;
const HEIGHT = 28;

/** A small curve of the last rates, the latest at the right; decoration beside the number that says the same. */
export class Sparkline {
  readonly #line = svg("polyline", { fill: "none", points: "" });
  readonly root = svg(
    "svg",
    { class: "sparkline", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, "aria-hidden": "true" },
    this.#line,
  );

  /** Draws `rates`, the latest first. */
  draw(rates: readonly number[]): void {
    const highest = Math.max(1, ...rates);
    const step = WIDTH / Math.max(1, rates.length - 1);
    const points = rates.map((rate, index) => {
      const x = WIDTH - index * step;
      const y = HEIGHT - 2 - (rate / highest) * (HEIGHT - 4);
      return `${x.toFixed(1)},${y.toFixed(1)}`;
    });
    this.#line.setAttribute("points", points.join(" "));
  }
}
