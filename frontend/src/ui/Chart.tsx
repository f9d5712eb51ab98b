import "uplot/dist/uPlot.min.css";
import { ActionIcon, Group, Table, Text, useComputedColorScheme, VisuallyHidden } from "@mantine/core";
import { useElementSize } from "@mantine/hooks";
import { type KeyboardEvent, useEffect, useMemo, useRef, useState } from "react";
import uPlot from "uplot";
import classes from "./chart.module.css";
import { align, nearest, type Series, summary } from "./chart-data";
import { number } from "./format";

export interface Mark {
  x: number;
  label: string;
  /** Where the word stands; default: at the top. */
  place?: "bottom";
}

export interface ChartProps {
  title: string;
  series: readonly Series[];
  /** What the x axis counts: "step". */
  xName?: string;
  format?: (value: number) => string;
  height?: number;
  /** Charts with the same name move their cursors together. */
  sync?: string;
  /** A click on, or Enter at, a point. */
  onSelect?: (x: number) => void;
  /** A stretch of the x axis was drawn with the pointer. */
  onZoom?: (stretch: [number, number]) => void;
  /** Vertical lines with a word: checkpoints, pauses, flags. */
  marks?: readonly Mark[];
  /** Fixed ends of the y axis. */
  range?: [number, number];
}

// Colour is never the only difference: each place among the series has a dash pattern too.
const DASHES: number[][] = [[], [8, 4], [2, 3], [10, 3, 2, 3], [4, 4], [1, 2]];
const AXIS_FONT = "12px system-ui, sans-serif";

/**
 * Lines over steps, with intervals. Drawn on a canvas; its words and numbers are there for everybody: a summary as its
 * name, a cursor for the arrow keys that is read out, and all values as a table.
 */
export default function Chart({
  title,
  series,
  xName = "step",
  format = number,
  height = 200,
  sync,
  onSelect,
  onZoom,
  marks = NO_MARKS,
  range,
}: ChartProps) {
  const { ref: sized, width } = useElementSize();
  const holder = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(null);
  const scheme = useComputedColorScheme("light");
  const [at, setAt] = useState<number | null>(null);
  const [asTable, setAsTable] = useState(false);
  const aligned = useMemo(() => align(series), [series]);
  const data = useMemo(() => [aligned.x, ...aligned.columns] as uPlot.AlignedData, [aligned]);
  const shape = JSON.stringify(series.map(({ name, style, faint, band }) => [name, style, faint, band !== undefined]));
  const latest = useRef({ data, series, marks, format, onSelect, onZoom });
  latest.current = { data, series, marks, format, onSelect, onZoom };

  // biome-ignore lint/correctness/useExhaustiveDependencies: drawn anew when the lines or the colours are others
  useEffect(() => {
    if (!holder.current || width === 0 || asTable) return;
    const made = new uPlot(
      options({ width, height, sync, range, current: () => latest.current, onCursor: setAt }),
      latest.current.data,
      holder.current,
    );
    plot.current = made;
    return () => {
      made.destroy();
      plot.current = null;
    };
  }, [shape, scheme, width, height, sync, asTable, range?.[0], range?.[1]]);

  useEffect(() => plot.current?.setData(data), [data]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: only the marks changed
  useEffect(() => plot.current?.redraw(false), [marks]);

  const words = useMemo(
    () => summary(series, xName, format) + marksInWords(marks, xName),
    [series, marks, xName, format],
  );
  const x = aligned.x;
  const moveTo = (index: number) => {
    const made = plot.current;
    const value = x[Math.max(0, Math.min(index, x.length - 1))];
    if (!made || value === undefined) return;
    made.setCursor({ left: made.valToPos(value, "x"), top: made.over.clientHeight / 2 });
  };
  const press = (event: KeyboardEvent) => {
    const here = at === null ? -1 : nearest(x, at);
    if (event.key === "ArrowRight") moveTo(here + 1);
    else if (event.key === "ArrowLeft") moveTo(here < 0 ? x.length - 1 : here - 1);
    else if (event.key === "Home") moveTo(0);
    else if (event.key === "End") moveTo(x.length - 1);
    else if (event.key === "Enter" && at !== null && onSelect) onSelect(at);
    else return;
    event.preventDefault();
  };
  return (
    <figure className={classes.figure}>
      <Group justify="space-between" wrap="nowrap" gap="xs">
        <Text component="figcaption" fw={600} size="sm">
          {title}
        </Text>
        <ActionIcon
          variant="subtle"
          color="gray"
          size="sm"
          className={classes.toggle}
          onClick={() => setAsTable(!asTable)}
          aria-pressed={asTable}
          aria-label={`${title} as a table`}
        >
          {asTable ? "∿" : "▤"}
        </ActionIcon>
      </Group>
      {asTable ? (
        <ValueTable series={series} x={x} xName={xName} format={format} />
      ) : (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: the arrow keys move the cursor of the picture
        <div ref={sized} role="img" aria-label={words} tabIndex={0} onKeyDown={press}>
          <div ref={holder} className={classes.plot} style={{ height }} />
        </div>
      )}
      <Legend series={series} at={at} xName={xName} format={format} />
      <VisuallyHidden aria-live="polite">{at === null ? "" : reading(series, at, xName, format)}</VisuallyHidden>
    </figure>
  );
}

const NO_MARKS: readonly Mark[] = [];

function marksInWords(marks: readonly Mark[], xName: string): string {
  return marks.length ? ` Marked: ${marks.map((mark) => `${mark.label} at ${xName} ${mark.x}`).join(", ")}.` : "";
}

function valueAt(one: Series, x: number | null): number | null {
  if (x === null) {
    for (let index = one.points.length - 1; index >= 0; index -= 1) {
      const value = one.points[index]![1];
      if (value !== null) return value;
    }
    return null;
  }
  return one.points.find((point) => point[0] === x)?.[1] ?? null;
}

function bandAt(one: Series, x: number | null): readonly [number, number, number] | undefined {
  return x === null ? one.band?.[one.band.length - 1] : one.band?.find((point) => point[0] === x);
}

function reading(series: readonly Series[], x: number, xName: string, format: (value: number) => string): string {
  const values = series.map((one) => {
    const value = valueAt(one, x);
    return value === null || one.faint ? "" : `${one.name} ${format(value)}`;
  });
  return `${xName} ${x}: ${values.filter(Boolean).join(", ")}`;
}

interface LegendProps {
  series: readonly Series[];
  at: number | null;
  xName: string;
  format: (value: number) => string;
}

/** Names, dashes, and the values at the cursor; without a cursor the last ones. */
function Legend({ series, at, xName, format }: LegendProps) {
  return (
    <Group gap="md" className={classes.legend} aria-hidden>
      <Text size="xs" c="dimmed" span className={classes.legendAt}>
        {at === null ? "latest" : `${xName} ${at}`}
      </Text>
      {series.map((one, index) => {
        if (one.faint) return null;
        const value = valueAt(one, at);
        const band = bandAt(one, at);
        const style = (one.style ?? index) % 6;
        return (
          <Group key={one.name} gap={6} wrap="nowrap">
            <svg width="22" height="8" aria-hidden="true">
              <line
                x1="0"
                y1="4"
                x2="22"
                y2="4"
                stroke={`var(--series-${style + 1})`}
                strokeWidth="2"
                strokeDasharray={DASHES[style]!.join(" ")}
              />
            </svg>
            <Text size="xs" span>
              {one.name} <b>{value === null ? "–" : format(value)}</b>
              {band && value !== null && ` (${format(band[1])} to ${format(band[2])})`}
            </Text>
          </Group>
        );
      })}
    </Group>
  );
}

function ValueTable({
  series,
  x,
  xName,
  format,
}: {
  series: readonly Series[];
  x: number[];
  xName: string;
  format: (value: number) => string;
}) {
  const shown = series.filter((one) => !one.faint);
  // A table of ten thousand lines helps nobody; every nth, and always the last.
  const stride = Math.max(1, Math.ceil(x.length / 500));
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
    <div className={classes.values} tabIndex={0}>
      <Table stickyHeader fz="xs" verticalSpacing={2}>
        <Table.Thead>
          <Table.Tr>
            <Table.Th scope="col">{xName}</Table.Th>
            {shown.map((one) => (
              <Table.Th key={one.name} scope="col">
                {one.name}
              </Table.Th>
            ))}
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {x
            .filter((_, index) => index % stride === 0 || index === x.length - 1)
            .map((value) => (
              <Table.Tr key={value}>
                <Table.Th scope="row">{value}</Table.Th>
                {shown.map((one) => {
                  const found = valueAt(one, value);
                  return <Table.Td key={one.name}>{found === null ? "" : format(found)}</Table.Td>;
                })}
              </Table.Tr>
            ))}
        </Table.Tbody>
      </Table>
    </div>
  );
}

interface Current {
  series: readonly Series[];
  marks: readonly Mark[];
  format: (value: number) => string;
  onSelect?: (x: number) => void;
  onZoom?: (stretch: [number, number]) => void;
}

interface OptionsInput {
  width: number;
  height: number;
  sync?: string;
  range?: [number, number];
  current: () => Current;
  onCursor: (x: number | null) => void;
}

function options({ width, height, sync, range, current, onCursor }: OptionsInput): uPlot.Options {
  const css = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const text = css("--mantine-color-dimmed");
  const grid = css("--line");
  const lines: uPlot.Series[] = [{}];
  const bands: uPlot.Band[] = [];
  for (const [index, one] of current().series.entries()) {
    const style = (one.style ?? index) % 6;
    const colour = css(`--series-${style + 1}`);
    const few = one.points.length <= 40;
    lines.push({
      stroke: one.faint ? `${colour}55` : colour,
      width: one.faint ? 1 : 2,
      dash: DASHES[style],
      spanGaps: true,
      points: { show: few && !one.faint, size: 5, fill: colour },
    });
    if (one.band) {
      const edge: uPlot.Series = { stroke: "transparent", width: 0, spanGaps: true, points: { show: false } };
      lines.push(edge, edge);
      bands.push({ series: [lines.length - 1, lines.length - 2], fill: `${colour}2b` });
    }
  }
  const axis: uPlot.Axis = {
    stroke: text,
    font: AXIS_FONT,
    grid: { stroke: grid, width: 1 },
    ticks: { stroke: grid, width: 1 },
  };
  return {
    width,
    height,
    padding: [8, 8, 0, 0],
    legend: { show: false },
    cursor: {
      sync: sync ? { key: sync } : undefined,
      points: { size: 7 },
      drag: { x: true, y: false, uni: 12, setScale: current().onZoom === undefined },
      focus: { prox: 24 },
    },
    scales: { x: { time: false }, y: range ? { range } : {} },
    axes: [
      { ...axis, size: 30, incrs: WHOLE_STEPS },
      { ...axis, size: 56, values: (_, splits) => splits.map((value) => current().format(value)) },
    ],
    series: lines,
    bands,
    hooks: {
      setCursor: [(made) => onCursor(cursorX(made))],
      setSelect: [(made) => zoomTo(made, current)],
      ready: [(made) => listen(made, current)],
      draw: [(made) => drawMarks(made, current().marks, text)],
    },
  };
}

function listen(made: uPlot, current: () => Current): void {
  made.over.addEventListener("mousedown", () => pressed.add(made));
  made.over.addEventListener("click", () => {
    const x = cursorX(made);
    if (x !== null) current().onSelect?.(x);
  });
}

/** A stretch drawn in one chart shows in those it is synchronized with; the one that was pressed speaks for all. */
function zoomTo(made: uPlot, current: () => Current): void {
  const { left, width } = made.select;
  const { onZoom } = current();
  if (onZoom === undefined || width === 0) return;
  made.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  if (pressed.delete(made) && width >= MIN_DRAG_PX)
    onZoom([made.posToVal(left, "x"), made.posToVal(left + width, "x")]);
}

const pressed = new WeakSet<uPlot>();
const MIN_DRAG_PX = 6;

/** Steps are counted: no half ones on the axis. */
const WHOLE_STEPS = [
  1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000, 2000, 2500, 5000, 10_000, 25_000, 50_000, 100_000,
];

function cursorX(made: uPlot): number | null {
  const { idx } = made.cursor;
  return idx === null || idx === undefined ? null : (made.data[0][idx] ?? null);
}

function drawMarks(made: uPlot, marks: readonly Mark[], colour: string): void {
  const { ctx, bbox } = made;
  const ratio = window.devicePixelRatio || 1;
  ctx.save();
  ctx.strokeStyle = colour;
  ctx.fillStyle = colour;
  ctx.textAlign = "left";
  ctx.font = `${11 * ratio}px system-ui, sans-serif`;
  ctx.setLineDash([2 * ratio, 3 * ratio]);
  for (const mark of marks) {
    const left = made.valToPos(mark.x, "x", true);
    if (left < bbox.left || left > bbox.left + bbox.width) continue;
    ctx.beginPath();
    ctx.moveTo(left, bbox.top);
    ctx.lineTo(left, bbox.top + bbox.height);
    ctx.stroke();
    const wide = ctx.measureText(mark.label).width + 4 * ratio;
    const onLeft = left + wide > bbox.left + bbox.width;
    const line = mark.place === "bottom" ? bbox.top + bbox.height - 5 * ratio : bbox.top + 11 * ratio;
    ctx.fillText(mark.label, onLeft ? left - wide : left + 4 * ratio, line);
  }
  ctx.restore();
}
