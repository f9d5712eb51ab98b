"""What every verb has in hand: the client, and where to write. Data goes to standard output, talk to standard error."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fettle import env
from fettle.cli.failures import failing_well

if TYPE_CHECKING:
    from fettle.client import Fettle

Record = Mapping[str, Any]


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"


class Session:
    """One run of one verb."""

    def __init__(self, base_url: str | None, format: Format, *, quiet: bool) -> None:
        self.base_url = base_url or env.base_url()
        self.format = format
        self.quiet = quiet

    @cached_property
    def client(self) -> Fettle:
        from fettle.client import Fettle

        return Fettle(base_url=self.base_url)

    def say(self, line: str) -> None:
        """For people: nothing that a script would read."""
        if not self.quiet:
            typer.echo(line, err=True)

    def write(self, text: str) -> None:
        typer.echo(text)

    def items(self, records: Sequence[Record], columns: Sequence[str], *, id_key: str = "id") -> None:
        """A list: ids, JSON, JSON lines, or a table of `columns` (dotted keys)."""
        if self.quiet:
            ids = (cell(record, id_key) for record in records)
            self._lines(ids)
        elif self.format is Format.JSON:
            self.write(json.dumps(list(records), ensure_ascii=False, indent=2, default=str))
        elif self.format is Format.JSONL:
            self._lines(json.dumps(record, ensure_ascii=False, default=str) for record in records)
        else:
            self._lines(table([[name.rpartition(".")[2] for name in columns]], records, columns))

    def item(self, record: Record, text: str, *, id_key: str = "id") -> None:
        """One thing: its id, its JSON, or `text`."""
        if self.quiet:
            self.write(cell(record, id_key))
        elif self.format is Format.TABLE:
            self.write(text)
        else:
            indent = 2 if self.format is Format.JSON else None
            self.write(json.dumps(record, ensure_ascii=False, indent=indent, default=str))

    def _lines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)


def table(head: list[list[str]], records: Sequence[Record], columns: Sequence[str]) -> list[str]:
    """Aligned lines with the head first. Line breaks inside cells become spaces."""
    rows = head + [[" ".join(cell(record, name).split()) for name in columns] for record in records]
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if _colored():
        lines[0] = f"\x1b[1m{lines[0]}\x1b[0m"
    return lines


def _colored() -> bool:
    return sys.stdout.isatty() and not env.no_color()


def cell(record: Record, name: str) -> str:
    """The value at a dotted key, in words; empty where there is none. Keys that end in `_at` are times."""
    value: Any = record
    for key in name.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    if value is None:
        return ""
    if name.endswith(("_at", "created")) and isinstance(value, (int, float)):
        return _time(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _time(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def details(record: Record) -> str:
    """`key: value` lines of what is set; nested values as JSON."""
    known = {name: cell(record, name) for name in record}
    width = max((len(name) for name, text in known.items() if text), default=0)
    return "\n".join(f"{name.ljust(width)}  {text}" for name, text in known.items() if text)


def record(thing: Any) -> dict[str, Any]:
    """An official object as the server sent it, also where the client's types know less: graders of a `multi`."""
    found: dict[str, Any] = thing.to_dict(mode="json", warnings=False)
    return found


def verb(app: typer.Typer, name: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function of (session, ...) as a command with the options that every verb has.

    Its errors become a message and an exit code, see `failures`.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        def run(**params: Any) -> None:
            ctx, json_, output, quiet = (params.pop(key) for key in ("ctx", "json_", "output", "quiet"))
            format = Format.JSON if json_ and output is Format.TABLE else output
            session = Session(ctx.obj.base_url if ctx.obj else None, format, quiet=quiet)
            with failing_well(session.base_url):
                function(session, **params)

        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
        every = [context, *own, *_EVERY_VERB]
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # what inspect.signature reads
            [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in every]
        )
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in every}
        run.__name__, run.__doc__ = function.__name__, function.__doc__
        app.command(name)(run)
        return function

    return register


_EVERY_VERB = [
    inspect.Parameter(
        "json_",
        inspect.Parameter.KEYWORD_ONLY,
        default=False,
        annotation=Annotated[bool, typer.Option("--json", help="Same as -o json.")],
    ),
    inspect.Parameter(
        "output",
        inspect.Parameter.KEYWORD_ONLY,
        default=Format.TABLE,
        annotation=Annotated[Format, typer.Option("-o", "--output", help="How to write data.")],
    ),
    inspect.Parameter(
        "quiet",
        inspect.Parameter.KEYWORD_ONLY,
        default=False,
        annotation=Annotated[bool, typer.Option("-q", "--quiet", help="Ids only, no talk.")],
    ),
]
