"""The `fettle` command. Nothing here imports `openai` before a verb needs it."""

from __future__ import annotations


def main() -> None:
    """Entry point of the console script."""
    from fettle.cli.app import app

    app()
