"""`fettle files`: data sets on the server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fettle.cli.session import Session, details, record, verb

app = typer.Typer(help="Upload, check and list data files.", no_args_is_help=True, rich_markup_mode=None)

COLUMNS = ["id", "filename", "bytes", "purpose", "status", "created_at"]
FileIdArgument = Annotated[str, typer.Argument(metavar="FILE_ID")]


@verb(app)
def upload(
    session: Session,
    paths: Annotated[list[Path], typer.Argument(metavar="FILE...", exists=True, dir_okay=False)],
) -> None:
    """Check files, send them, and show what the server found in them."""
    sent = [record(session.client.upload(path, progress=False if session.quiet else None)) for path in paths]
    session.items(sent, COLUMNS)


@verb(app, "list")
def list_(
    session: Session,
    purpose: Annotated[str | None, typer.Option(help="Only files of this purpose.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many, newest first.")] = 100,
) -> None:
    """List files, newest first."""
    query: dict[str, Any] = {"purpose": purpose} if purpose else {}
    page = session.client.files.list(limit=limit, **query)
    session.items([record(file) for file in page.data], COLUMNS)


@verb(app)
def get(session: Session, file_id: FileIdArgument) -> None:
    """Show one file."""
    found = record(session.client.files.retrieve(file_id))
    session.item(found, details(found))


@verb(app)
def check(session: Session, file: Annotated[str, typer.Argument(metavar="FILE|FILE_ID")]) -> None:
    """Check a local file offline, or show what the server found in an uploaded one."""
    from fettle.data import FileId, check_lines, source_of
    from fettle.results import FileReport

    source = source_of(file, name="data")
    if isinstance(source, FileId):
        report = session.client.fettle.files.validation(source.id)
    else:
        num_rows, problems = check_lines(source.lines())
        report = FileReport(num_rows=num_rows, causes=problems)
    session.item(record(report), report_text(file, report))
    if report.errors:
        raise typer.Exit(1)


@verb(app)
def delete(session: Session, file_ids: Annotated[list[str], typer.Argument(metavar="FILE_ID...")]) -> None:
    """Delete files."""
    gone = [record(session.client.files.delete(file_id)) for file_id in file_ids]
    session.items(gone, ["id", "deleted"])


def report_text(name: str, report: Any) -> str:
    """`train.jsonl: 120 rows, 2 causes of errors`, then the causes."""
    rows = f"{report.num_rows} row{'s' * (report.num_rows != 1)}, " if report.num_rows is not None else ""
    errors, warnings = len(report.errors), len(report.warnings)
    verdict = f"{errors} kind{'s' * (errors != 1)} of error" if errors else "no errors"
    head = f"{name}: {rows}{verdict}" + (f", {warnings} kind{'s' * (warnings != 1)} of warning" if warnings else "")
    return "\n".join([head, *(f"  {problem.severity}: {problem}" for problem in report.causes)])
