import { Text } from "@mantine/core";
import { percent } from "@/ui/format";
import { Untrusted } from "@/ui/Untrusted";
import classes from "./rollouts.module.css";
import { BOUNDS, type Piece } from "./unlikely";

/** Text with the tokens that were unlikely marked: the less likely, the stronger and the thicker underlined. */
export function Marked({ pieces }: { pieces: readonly Piece[] }) {
  return pieces.map((piece, index) =>
    piece.level === 0 ? (
      // biome-ignore lint/suspicious/noArrayIndexKey: the pieces of one answer never move
      <Untrusted key={index} text={piece.text} />
    ) : (
      <mark
        // biome-ignore lint/suspicious/noArrayIndexKey: the pieces of one answer never move
        key={index}
        className={classes.unlikely}
        data-level={piece.level}
        title={`probability ${percent(piece.probability ?? 0)}`}
      >
        <Untrusted text={piece.text} />
      </mark>
    ),
  );
}

export function MarkedLegend() {
  return (
    <Text size="xs" c="dimmed">
      Tokens that had a probability under{" "}
      {BOUNDS.map((bound, index) => (
        <span key={bound}>
          {index > 0 && ", "}
          <mark className={classes.unlikely} data-level={index + 1}>
            {percent(bound)}
          </mark>
        </span>
      ))}{" "}
      when they were drawn.
    </Text>
  );
}
