import { plural } from "./format";
import { Untrusted } from "./Untrusted";
import classes from "./ui.module.css";

interface ThinkingProps {
  text: string;
  numTokens?: number | null;
  open?: boolean;
}

/** What a model wrote before its answer, folded. */
export function Thinking({ text, numTokens, open }: ThinkingProps) {
  return (
    <details className={classes.thinking} open={open}>
      <summary>Thinking{numTokens ? `, ${plural(numTokens, "token")}` : ""}</summary>
      <Untrusted text={text} />
    </details>
  );
}
