import { useVirtualizer } from "@tanstack/react-virtual";
import { type ReactNode, useRef, useState } from "react";
import { useKeys } from "./keys";
import classes from "./table.module.css";

export interface Column<Row> {
  key: string;
  header: ReactNode;
  cell: (row: Row) => ReactNode;
  /** A CSS grid track: `minmax(200px, 2fr)`, `90px`. */
  width: string;
  align?: "right";
}

interface VirtualTableProps<Row> {
  label: string;
  rows: readonly Row[];
  columns: readonly Column<Row>[];
  rowKey: (row: Row) => string;
  /** How many there are in all, when `rows` holds only those fetched so far. */
  total?: number;
  rowHeight?: number;
  height?: number | string;
  onOpen?: (row: Row) => void;
  /** Called when the last fetched rows come into view. */
  onEnd?: () => void;
}

/**
 * A table that stays fast with tens of thousands of rows: only those in view are in the page. j, k and Enter
 * work. Its parts have roles instead of being a real table's, whose rows could not be placed one by
 * one; what scrolls is reachable by keyboard.
 */
export function VirtualTable<Row>({
  label,
  rows,
  columns,
  rowKey,
  total = rows.length,
  rowHeight = 36,
  height = "min(70vh, 720px)",
  onOpen,
  onEnd,
}: VirtualTableProps<Row>) {
  const scroller = useRef<HTMLDivElement>(null);
  const [at, setAt] = useState<number | null>(null);
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeight,
    overscan: 12,
    onChange: (instance) => {
      const last = instance.range?.endIndex ?? 0;
      if (last >= rows.length - 20 && rows.length < total) onEnd?.();
    },
  });
  const move = (to: number) => {
    const index = Math.max(0, Math.min(to, rows.length - 1));
    setAt(index);
    virtual.scrollToIndex(index);
  };
  useKeys({
    j: () => move((at ?? -1) + 1),
    k: () => move((at ?? 1) - 1),
    ...(at !== null && rows[at] && onOpen ? { Enter: () => onOpen(rows[at]!) } : {}),
  });
  const tracks = { gridTemplateColumns: columns.map((column) => column.width).join(" ") };
  return (
    <div
      ref={scroller}
      className={classes.scroller}
      style={{ maxHeight: height }}
      tabIndex={0}
      role="region"
      aria-label={`${label}, scrolls`}
    >
      <div
        role="table"
        aria-label={label}
        aria-rowcount={total + 1}
        aria-colcount={columns.length}
        className={classes.table}
      >
        <div role="row" aria-rowindex={1} className={classes.head} style={tracks} tabIndex={-1}>
          {columns.map((column) => (
            <div key={column.key} role="columnheader" data-align={column.align} tabIndex={-1}>
              {column.header}
            </div>
          ))}
        </div>
        <div role="rowgroup" className={classes.body} style={{ height: virtual.getTotalSize() }}>
          {virtual.getVirtualItems().map((item) => {
            const row = rows[item.index]!;
            return (
              <div
                key={rowKey(row)}
                role="row"
                tabIndex={-1}
                aria-rowindex={item.index + 2}
                className={classes.row}
                data-at={item.index === at || undefined}
                data-opens={onOpen ? true : undefined}
                style={{ ...tracks, height: rowHeight, transform: `translateY(${item.start}px)` }}
                onClick={onOpen ? () => onOpen(row) : undefined}
                onKeyDown={onOpen ? (event) => event.key === "Enter" && onOpen(row) : undefined}
              >
                {columns.map((column) => (
                  <div key={column.key} role="cell" data-align={column.align}>
                    {column.cell(row)}
                  </div>
                ))}
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}
