"""`fettle whoami` and `fettle version`."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

import typer

from fettle import __version__, env
from fettle.cli.session import Session, details, verb

app = typer.Typer(rich_markup_mode=None)


@verb(app)
def whoami(session: Session) -> None:
    """Which server, which key, and whether it is accepted."""
    models = [model.id for model in session.client.models.list()]
    found = {"base_url": session.base_url, "api_key": masked(env.api_key() or ""), "models": len(models)}
    session.item(found, details(found), id_key="api_key")


@verb(app)
def version(session: Session) -> None:
    """Versions of this client and what it is built on."""
    found = {"fettle": __version__, "openai": _installed("openai"), "fettle-server": _installed("fettle-server")}
    session.item(found, details(found), id_key="fettle")


def masked(key: str) -> str:
    """Enough of a key to tell it from another."""
    return f"{key[:11]}…" if len(key) > 16 else "…"


def _installed(package: str) -> str | None:
    try:
        return installed(package)
    except PackageNotFoundError:
        return None
