"""`fettle models`: what can be called, and adapters to take away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fettle.cli.session import Session, details, record, verb

app = typer.Typer(help="List, download and delete models.", no_args_is_help=True, rich_markup_mode=None)

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL")]


@verb(app, "list")
def list_(session: Session) -> None:
    """List base models and your tuned ones."""
    session.items([record(model) for model in session.client.models.list()], ["id", "owned_by", "created"])


@verb(app)
def get(session: Session, model: ModelArgument) -> None:
    """Show one model."""
    found = record(session.client.models.retrieve(model))
    session.item(found, details(found))


@verb(app)
def download(
    session: Session,
    model: ModelArgument,
    directory: Annotated[Path, typer.Argument(metavar="DIR", file_okay=False)],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
) -> None:
    """Write a tuned model's adapter, a plain PEFT folder, into DIR."""
    target = session.client.fettle.models.download(model, directory, overwrite=overwrite)
    session.item({"id": model, "directory": str(target)}, str(target))


@verb(app)
def delete(session: Session, models: Annotated[list[str], typer.Argument(metavar="MODEL...")]) -> None:
    """Delete tuned models."""
    session.items([record(session.client.models.delete(model)) for model in models], ["id", "deleted"])
