export interface RewardRange {
  min?: number;
  max?: number;
}

/** Rewards of a bin: from its lower edge on, below its upper one; the last has no upper bound. */
export function binRange(edges: readonly number[], bin: number): RewardRange {
  return { min: edges[bin], max: bin === edges.length - 2 ? undefined : edges[bin + 1] };
}
