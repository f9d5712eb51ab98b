import { Code } from "@mantine/core";
import { pieces } from "./characters";
import classes from "./ui.module.css";

interface UntrustedProps {
  text: string;
  /** In one line, cut where the room ends. */
  line?: boolean;
}

/** Text that a model or a stranger wrote, with its line breaks; odd characters by name. */
export function Untrusted({ text, line = false }: UntrustedProps) {
  return (
    <span className={line ? classes.untrustedLine : classes.untrusted}>
      {pieces(text).map((piece, index) =>
        piece.odd ? (
          // biome-ignore lint/suspicious/noArrayIndexKey: the pieces of one text never move
          <Code key={index} className={classes.odd} title="A character that would not be seen">
            {piece.text}
          </Code>
        ) : (
          piece.text
        ),
      )}
    </span>
  );
}
