/** Names of rows and answers in an editor: offered while they are typed, marked where no row has them. */
import { type Completion, type CompletionContext, pickedCompletion } from "@codemirror/autocomplete";
import { EditorState, type Extension } from "@codemirror/state";
import { Decoration, type DecorationSet, type EditorView, MatchDecorator, ViewPlugin } from "@codemirror/view";
import { type Columns, isKnown, type Offer, offerInPython, offerInTemplate } from "../grader/names";

export type Language = "python" | "json" | "template";

export function references(language: Language, columns: Columns): Extension {
  const offer = (before: string) =>
    language === "python" ? offerInPython(before, columns) : offerInTemplate(before, columns, language === "json");
  const autocomplete = (context: CompletionContext) => {
    const line = context.state.doc.lineAt(context.pos);
    return completions(offer(line.text.slice(0, context.pos - line.from)), context.pos);
  };
  const offered = EditorState.languageData.of(() => [{ autocomplete }]);
  return language === "python" ? offered : [offered, marks(columns)];
}

function completions(offer: Offer | null, position: number) {
  if (!offer) return null;
  const apply = put(offer.close);
  // In their own order, the likeliest first.
  const options = offer.names.map(({ name, says }, index) => ({ label: name, detail: says, boost: -index, apply }));
  return { from: position - offer.typed.length, options, validFor: /^[\w.]*$/ };
}

/** Writes the name, and what must stand behind it unless it stands there. */
function put(close: string) {
  return (view: EditorView, completion: Completion, from: number, to: number) => {
    const rest = view.state.sliceDoc(to).trimStart();
    const insert = completion.label + (rest.startsWith(close) ? "" : close);
    const cursor = from + completion.label.length;
    view.dispatch({
      changes: { from, to, insert },
      selection: { anchor: cursor },
      annotations: pickedCompletion.of(completion),
    });
  };
}

function marks(columns: Columns): Extension {
  const known = Decoration.mark({ class: "cm-reference" });
  const unknown = Decoration.mark({ class: "cm-unknown", attributes: { title: "No row has this" } });
  const matcher = new MatchDecorator({
    regexp: /\{\{(.*?)\}\}/g,
    decoration: (match) => (isKnown(match[1] ?? "", columns) ? known : unknown),
  });
  return ViewPlugin.define<{ shown: DecorationSet; update: (change: never) => void }>(
    (view) => ({
      shown: matcher.createDeco(view),
      update(change) {
        this.shown = matcher.updateDeco(change, this.shown);
      },
    }),
    { decorations: (plugin) => plugin.shown },
  );
}
