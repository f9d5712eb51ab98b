import { lazy, Suspense } from "react";
import type { ChartProps } from "./Chart";

const Drawn = lazy(() => import("./Chart"));

/** A chart whose library comes in a chunk of its own; its place is kept free until then. */
export function LazyChart(props: ChartProps) {
  return (
    <Suspense fallback={<div style={{ height: (props.height ?? 200) + 50 }} aria-busy="true" />}>
      <Drawn {...props} />
    </Suspense>
  );
}
