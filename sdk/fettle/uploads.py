"""Around sending a file: the check before, the bar meanwhile, the server's report after."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

from fettle.data import FileId, OnProgress, Upload, check_lines
from fettle.errors import InvalidData
from fettle.results import FileReport

# True or None: a bar when standard error is a terminal. False: nothing. A function: called with (sent, total) bytes.
Progress: TypeAlias = bool | OnProgress | None

VALIDATION_POLLS = 120
VALIDATION_POLL_S = 0.5


def check_upload(source: FileId | Upload) -> None:
    """Refuse a file with broken lines before any byte is sent.

    Raises:
        InvalidData: naming the lines.
    """
    if isinstance(source, Upload):
        num_rows, problems = check_lines(source.lines())
        if num_rows == 0:
            raise InvalidData(f"{source.name} has no rows", problems=[], fix="Write one JSON object a line.")
        if problems:
            raise InvalidData(f"{source.name} has rows that cannot be read", problems=problems)


def refuse_errors(name: str, report: FileReport | None) -> None:
    """Raise `InvalidData` when the server found errors in the file."""
    if report is not None and report.errors:
        raise InvalidData(f"the server found errors in {name}", problems=report.errors)


def settled(report: FileReport | None) -> bool:
    """Whether the server has finished looking at the file."""
    return report is None or report.status in ("processed", "error")


@contextmanager
def progress_bar(name: str, progress: Progress) -> Iterator[OnProgress | None]:
    """The function an upload reports to; None when nobody looks."""
    if callable(progress):
        yield progress
        return
    if progress is False or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("uploading {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(name, total=None)
        yield lambda sent, total: bars.update(task, completed=sent, total=total)
