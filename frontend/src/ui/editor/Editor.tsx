/** A code editor. Import it lazily (`ui/CodeEditor`): it is larger than any page. */
import { autocompletion, closeBrackets } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { json } from "@codemirror/lang-json";
import { python } from "@codemirror/lang-python";
import { bracketMatching, HighlightStyle, indentOnInput, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { EditorState } from "@codemirror/state";
import { EditorView, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { useEffect, useRef } from "react";

export interface EditorProps {
  label: string;
  language: "python" | "json";
  value: string;
  onChange: (value: string) => void;
}

// Colours are variables, so that a change of scheme needs no new editor.
const highlight = HighlightStyle.define([
  { tag: [tags.keyword, tags.bool, tags.null], color: "var(--series-4)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--series-3)" },
  { tag: [tags.number], color: "var(--series-2)" },
  { tag: [tags.comment], color: "var(--mantine-color-dimmed)", fontStyle: "italic" },
  { tag: [tags.function(tags.variableName), tags.propertyName], color: "var(--mantine-color-anchor)" },
]);

const look = EditorView.theme({
  "&": { fontSize: "0.8125rem", border: "1px solid var(--line-strong)", borderRadius: "4px" },
  "&.cm-focused": { outline: "2px solid var(--mantine-color-anchor)" },
  ".cm-scroller": { fontFamily: "var(--mantine-font-family-monospace)", minHeight: "180px", maxHeight: "60vh" },
  ".cm-gutters": { background: "var(--raised)", color: "var(--mantine-color-dimmed)", border: "none" },
  ".cm-content": { caretColor: "var(--mantine-color-text)" },
  ".cm-cursor": { borderLeftColor: "var(--mantine-color-text)" },
  "&.cm-focused .cm-selectionBackground, .cm-selectionBackground": { background: "var(--line) !important" },
});

export default function Editor({ label, language, value, onChange }: EditorProps) {
  const holder = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView>(null);
  const changed = useRef(onChange);
  changed.current = onChange;
  const first = useRef(value);

  useEffect(() => {
    const made = new EditorView({
      parent: holder.current!,
      state: EditorState.create({
        doc: first.current,
        extensions: [
          lineNumbers(),
          history(),
          indentOnInput(),
          bracketMatching(),
          closeBrackets(),
          autocompletion(),
          indentUnit.of(language === "python" ? "    " : "  "),
          language === "python" ? python() : json(),
          syntaxHighlighting(highlight),
          look,
          // Tab is not bound: it leaves the editor, as everywhere on the page.
          keymap.of([...defaultKeymap, ...historyKeymap]),
          EditorView.contentAttributes.of({ "aria-label": label }),
          EditorView.lineWrapping,
          EditorView.updateListener.of((update) => {
            if (update.docChanged) changed.current(update.state.doc.toString());
          }),
        ],
      }),
    });
    view.current = made;
    return () => made.destroy();
  }, [label, language]);

  // What came from elsewhere, such as the form, replaces the text; what was typed here is there already.
  useEffect(() => {
    const made = view.current;
    if (made && made.state.doc.toString() !== value) {
      made.dispatch({ changes: { from: 0, to: made.state.doc.length, insert: value } });
    }
    first.current = value;
  }, [value]);

  return <div ref={holder} />;
}
