"""The root of the command line: client verbs loaded on demand, server verbs from whoever brings them."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fettle.cli import plugins

# Verb -> the module whose `app` holds it, and its line in `fettle --help`, which must not import them all.
GROUPS = {
    "files": ("fettle.cli.files", "Upload, check and list data files."),
    "graders": ("fettle.cli.graders", "Check, try, test and keep graders."),
    "jobs": ("fettle.cli.jobs", "Start, follow and read fine-tuning jobs."),
    "models": ("fettle.cli.models", "List, download and delete models."),
}
SINGLE = {
    "preflight": (
        "fettle.cli.preflight",
        "Have the base answer and be graded: would a job learn, and what should be done first?",
    ),
    "chat": ("fettle.cli.chat", "Send a prompt and stream the answer; without one, hold a dialogue."),
    "whoami": ("fettle.cli.about", "Which server, which key, and whether it is accepted."),
    "version": ("fettle.cli.about", "Versions of this client and what it is built on."),
}
OWN = GROUPS | SINGLE


@dataclass(frozen=True)
class Globals:
    """What stands before the verb."""

    base_url: str | None


class Root(TyperGroup):
    """Finds verbs by name, importing only the one that is run. Own verbs win over plugged-in ones."""

    # The context is a class of typer's vendored click, which has no public name in every version: hence Any.

    def list_commands(self, ctx: Any) -> list[str]:
        return [*OWN, *(name for name in plugins.commands() if name not in OWN)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in OWN:
            return _own(cmd_name)
        found = plugins.commands().get(cmd_name)
        if found is None and not ctx.resilient_parsing and (hint := plugins.missing_hint(cmd_name, OWN)):
            typer.echo(hint, err=True)
        return found

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in OWN.items()])
        server = [
            (n, c.get_short_help_str(200)) for n, c in plugins.commands().items() if n not in OWN and not c.hidden
        ]
        if server:
            with formatter.section("Server"):
                formatter.write_dl(sorted(server))


def _own(name: str) -> Any:
    module = importlib.import_module(OWN[name][0])
    group = typer.main.get_group(module.app)
    if name in SINGLE:
        return group.commands[name]
    group.name = name
    return group


app = typer.Typer(
    cls=Root,
    name="fettle",
    help="Reinforcement fine-tuning on your own machines.",
    epilog="FETTLE_BASE_URL and FETTLE_API_KEY say which server and who you are.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # the boxed help costs a tenth of a second to import
)


@app.callback()
def root(
    ctx: typer.Context,
    base_url: Annotated[
        str | None, typer.Option("--base-url", help="The server's /v1, instead of FETTLE_BASE_URL.")
    ] = None,
) -> None:
    ctx.obj = Globals(base_url=base_url)
