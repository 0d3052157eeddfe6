/** A plot over time, drawn by uPlot; what it shows is said in words too. */
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { SECONDS, type Values, newest } from "../gateway/series.js";
import { theme } from "../shell/theme.js";

export interface Line {
  readonly label: string;
  readonly values: Values;
  /** A number of the palette in styles/tokens.css, from 1. */
  readonly color: 1 | 2 | 3 | 4 | 5;
}

export interface PlotProps {
  readonly title: string;
  /** Seconds since 1970. */
  readonly times: readonly number[];
  readonly lines: readonly Line[];
  readonly format: (value: number | null) => string;
  readonly height?: number;
  /** The axis has round numbers of bytes. */
  readonly bytes?: boolean;
  /** The axis goes at least so far. */
  readonly least?: number;
  /** Fills the area beneath. */
  readonly area?: boolean;
}

const SYNC = "statistics";
const ROUND_BYTES = Array.from({ length: 42 }, (_, power) => 2 ** power);

export function Plot({
  title,
  times,
  lines,
  format,
  height = 128,
  bytes = false,
  least = 1,
  area = true,
}: PlotProps): JSX.Element {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [pointed, setPointed] = useState<number | null>(null);
  const shape = `${lines.map((line) => `${line.label}:${line.color}`).join()} ${theme.value} ${height} ${least}`;
  const data = align(times, lines);
  const formatted = useRef(format);
  formatted.current = format;

  useLayoutEffect(() => {
    const element = host.current;
    if (element === null) return;
    const options = describe(element, {
      lines,
      height,
      bytes,
      least,
      area,
      format: (value) => formatted.current(value),
    });
    options.hooks = { setCursor: [(drawn) => setPointed(drawn.cursor.idx ?? null)] };
    const made = new uPlot(options, data, element);
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [shape]);

  useEffect(() => plot.current?.setData(data), [times.at(-1), times.length, lines]);

  const index = pointed !== null && pointed < times.length ? pointed : times.length - 1;
  const time = pointed === null ? undefined : times[index];
  return (
    <figure class="plot" aria-label={title}>
      <figcaption>
        <span class="plot-title">{title}</span>
        <span class="plot-time">{time === undefined ? "" : new Date(time * 1000).toLocaleTimeString("en-GB")}</span>
        <span class="legend">
          {lines.map((line) => (
            <span key={line.label} class={`key key-${line.color}`}>
              {line.label}{" "}
              <b>
                {format(
                  pointed === null
                    ? newest(line.values)
                    : (line.values[index - (times.length - line.values.length)] ?? null),
                )}
              </b>
            </span>
          ))}
        </span>
      </figcaption>
      <div
        ref={host}
        class="canvas"
        style={{ height: `${height}px` }}
        role="img"
        aria-label={`${title} over the last 15 minutes: ${inWords(lines, format)}`}
      />
    </figure>
  );
}

function inWords(lines: readonly Line[], format: (value: number | null) => string): string {
  return lines
    .map((line) => {
      const known = line.values.filter((value) => value !== null);
      return `${line.label} ${format(newest(line.values))}, at most ${format(known.length === 0 ? null : Math.max(...known))}`;
    })
    .join("; ");
}

function align(times: readonly number[], lines: readonly Line[]): uPlot.AlignedData {
  const padded = lines.map(({ values }) => {
    const missing = times.length - values.length;
    return missing > 0
      ? [...new Array<null>(missing).fill(null), ...values]
      : values.slice(-times.length || values.length);
  });
  return [times as number[], ...(padded as (number | null)[][])];
}

interface Look {
  readonly lines: readonly Line[];
  readonly height: number;
  readonly bytes: boolean;
  readonly least: number;
  readonly area: boolean;
  readonly format: (value: number | null) => string;
}

function describe(element: HTMLElement, look: Look): uPlot.Options {
  const style = getComputedStyle(element);
  const color = (name: string): string => resolve(element, name);
  const axis = {
    stroke: color("--muted"),
    font: `11px ${style.fontFamily}`,
    grid: { stroke: color("--grid"), width: 1 },
    ticks: { show: false },
  };
  return {
    width: element.clientWidth || 300,
    height: look.height,
    padding: [6, 4, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: SYNC }, y: false, points: { size: 5 }, drag: { x: false, y: false } },
    // Always a quarter of an hour, so that a curve does not change its form while the past fills up.
    scales: {
      x: { range: (_plot, _low, high) => [(high ?? 0) - SECONDS, high ?? 0] },
      y: { range: (_plot, _low, high) => [0, Math.max(look.least, (high ?? 0) * 1.08)] },
    },
    axes: [
      { ...axis, size: 22, space: 70, values: (_plot, splits) => splits.map((second) => hourAndMinute(second)) },
      {
        ...axis,
        size: 58,
        space: 28,
        values: (_plot, splits) => splits.map((value) => (value === 0 ? "0" : look.format(value))),
        ...(look.bytes ? { incrs: ROUND_BYTES } : {}),
      },
    ],
    series: [
      {},
      ...look.lines.map((line) => ({
        label: line.label,
        stroke: color(`--line-${line.color}`),
        width: 1.5,
        points: { show: false },
        spanGaps: false,
        ...(look.area && look.lines.length === 1 ? { fill: color(`--fill-${line.color}`) } : {}),
      })),
    ],
  };
}

// A canvas knows no custom properties and no light-dark(): the browser is asked for what they come to.
function resolve(element: HTMLElement, name: string): string {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  element.append(probe);
  const color = getComputedStyle(probe).color;
  probe.remove();
  return color;
}

function hourAndMinute(second: number): string {
  const at = new Date(second * 1000);
  return `${String(at.getHours()).padStart(2, "0")}:${String(at.getMinutes()).padStart(2, "0")}`;
}
