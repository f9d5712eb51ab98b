"""`fettle graders`: try a grader before a job depends on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from fettle.cli.session import Session, record, verb

app = typer.Typer(help="Check and try graders.", no_args_is_help=True, rich_markup_mode=None)

GraderFile = Annotated[Path, typer.Argument(metavar="FILE", help=".json, .toml or .py")]


@verb(app)
def validate(session: Session, grader: GraderFile) -> None:
    """Have the server check a grader; prints it as the server understands it."""
    found = session.client.fettle.graders.validate(grader)
    session.item(found, json.dumps(found, ensure_ascii=False, indent=2), id_key="name")
    session.say(f"{grader}: valid")


@verb(app)
def run(
    session: Session,
    grader: GraderFile,
    answer: Annotated[str, typer.Option(help="What the model would have answered.")],
    item: Annotated[str, typer.Option(help="The data row, as JSON or as @file.")] = "{}",
) -> None:
    """Grade one answer."""
    result = session.client.fettle.graders.run(grader, answer=answer, item=read_item(item))
    lines = [f"reward {result.reward:g}"]
    lines += [f"  {name} {value:g}" for name, value in (result.sub_rewards or {}).items()]
    lines += [f"  {name}: {value}" for name, value in result.errors.items()]
    session.item(record(result), "\n".join(lines), id_key="reward")
    if result.errors:
        session.say("the grader failed on this answer; in training it would be left out, not counted as 0")
        raise typer.Exit(1)


def read_item(text: str) -> dict[str, Any]:
    """A row from JSON text or, with `@` before it, from a file."""
    from fettle.errors import InvalidRequest

    source = Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text
    try:
        row = json.loads(source)
    except ValueError as error:
        raise InvalidRequest(f"--item is not valid JSON: {error}") from error
    if not isinstance(row, dict):
        raise InvalidRequest(f"--item must be a JSON object, found {type(row).__name__}")
    return row
