/** A code editor. Import it lazily (`ui/CodeEditor`): it is larger than any page. */
import { autocompletion, closeBrackets } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { json } from "@codemirror/lang-json";
import { python } from "@codemirror/lang-python";
import { bracketMatching, HighlightStyle, indentOnInput, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { Compartment, EditorState, type Extension } from "@codemirror/state";
import { EditorView, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { useContext, useEffect, useRef, useState } from "react";
import { ColumnsContext } from "../grader/names";
import { type Language, references } from "./references";

export interface EditorProps {
  label: string;
  /** `template`: a line or a few of text with `{{ references }}`. */
  language: Language;
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
  ".cm-scroller": { fontFamily: "var(--mantine-font-family-monospace)", maxHeight: "60vh" },
  ".cm-gutters": { background: "var(--raised)", color: "var(--mantine-color-dimmed)", border: "none" },
  ".cm-content": { caretColor: "var(--mantine-color-text)" },
  ".cm-cursor": { borderLeftColor: "var(--mantine-color-text)" },
  ".cm-reference": { color: "var(--series-1)" },
  ".cm-unknown": { textDecoration: "underline wavy var(--mantine-color-error)", textUnderlineOffset: "3px" },
  ".cm-tooltip": {
    background: "var(--mantine-color-body)",
    border: "1px solid var(--line-strong)",
    color: "var(--mantine-color-text)",
  },
  ".cm-tooltip.cm-tooltip-autocomplete > ul": { fontFamily: "var(--mantine-font-family-monospace)" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li": { padding: "4px 8px" },
  ".cm-tooltip-autocomplete ul li[aria-selected]": {
    background: "var(--mantine-primary-color-filled)",
    color: "var(--mantine-primary-color-contrast)",
  },
  ".cm-completionDetail": { fontStyle: "normal", fontFamily: "var(--mantine-font-family)" },
  "&.cm-focused .cm-selectionBackground, .cm-selectionBackground": { background: "var(--line) !important" },
});

const tall = EditorView.theme({ ".cm-content, .cm-gutter": { minHeight: "180px" } });
const flat = EditorView.theme({ "&": { background: "var(--field)" }, ".cm-content": { padding: "8px 6px" } });

const LANGUAGES: Record<Language, () => Extension> = {
  python: () => [lineNumbers(), python(), indentUnit.of("    "), tall],
  json: () => [lineNumbers(), json(), indentUnit.of("  "), tall],
  template: () => [EditorState.languageData.of(() => [{ closeBrackets: { brackets: ["{"] } }]), flat],
};

export default function Editor({ label, language, value, onChange }: EditorProps) {
  const holder = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView>(null);
  const changed = useRef(onChange);
  changed.current = onChange;
  const first = useRef(value);
  const columns = useContext(ColumnsContext);
  const known = useRef(columns);
  known.current = columns;
  const [names] = useState(() => new Compartment());

  useEffect(() => {
    const made = new EditorView({
      parent: holder.current!,
      state: EditorState.create({
        doc: first.current,
        extensions: [
          LANGUAGES[language](),
          names.of(references(language, known.current)),
          history(),
          indentOnInput(),
          bracketMatching(),
          closeBrackets(),
          autocompletion(),
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
  }, [label, language, names]);

  useEffect(() => {
    view.current?.dispatch({ effects: names.reconfigure(references(language, columns)) });
  }, [language, columns, names]);

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
