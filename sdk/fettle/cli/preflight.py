"""`fettle preflight`: look at the base before a job. Exits with 0 when it is ready, 4 when fixable, 5 for a don't."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fettle.cli.failures import DONT, FIXABLE
from fettle.cli.session import Session, record, verb

app = typer.Typer(rich_markup_mode=None)

_EXIT_CODES = {"ready": 0, "fixable": FIXABLE, "dont": DONT}
# Of a job's arguments those that decide nothing about the base.
_ONLY_OF_JOBS = ("method", "suffix", "preflight")


@verb(app)
def preflight(
    session: Session,
    config: Annotated[
        Path | None, typer.Option("-c", "--config", exists=True, dir_okay=False, help="job.toml or job.json")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Base model, or a tuned one to continue.")] = None,
    data: Annotated[str | None, typer.Option(help="Training rows: a path or a file id.")] = None,
    validation: Annotated[str | None, typer.Option(help="Held-out rows: a path or a file id.")] = None,
    grader: Annotated[str | None, typer.Option(help="A file, or the id of a stored grader.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**31 - 1)] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Training rows to answer (64).")] = None,
    samples: Annotated[int | None, typer.Option(min=2, help="Answers to each (8).")] = None,
    pass_threshold: Annotated[float | None, typer.Option(help="Reward from which an answer passes (0.5).")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A training field, e.g. group_size=8.")
    ] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds.")] = None,
    show: Annotated[str | None, typer.Option("--show", metavar="PREFLIGHT_ID", help="Show one made before.")] = None,
) -> None:
    """Have the base answer and be graded: would a job learn, and what should be done first?"""
    from fettle.cli.job_config import job_arguments, read_config
    from fettle.errors import InvalidRequest

    preflights = session.client.fettle.preflights
    if show is None:
        flags = {"model": model, "data": data, "validation": validation, "grader": grader, "seed": seed}
        arguments = job_arguments(read_config(config) if config else {}, flags, settings or [])
        if arguments.get("grader") is None:
            raise InvalidRequest("--grader is missing", fix="Give --grader, or `grader` in the file of -c.")
        asked: dict[str, Any] = {"num_rows": rows, "samples_per_row": samples, "pass_threshold": pass_threshold}
        kept: dict[str, Any] = {name: value for name, value in arguments.items() if name not in _ONLY_OF_JOBS}
        show = session.client.preflight(**kept, **asked, wait=False, progress=False if session.quiet else None).id
        session.say(f"{show}: Ctrl-C leaves it running; fettle preflight --show {show}")
    found = preflights.wait(show, timeout=timeout, on_phase=session.say)
    session.item(record(found), str(found))
    if found.verdict:
        raise typer.Exit(_EXIT_CODES[found.verdict])
