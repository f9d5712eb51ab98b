"""`fettle chat`: talk to a model. The thinking is shown dimmed on standard error, the answer on standard output."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from fettle import env
from fettle.cli.session import Format, Session, verb

app = typer.Typer(rich_markup_mode=None)


@verb(app)
def chat(
    session: Session,
    model: Annotated[str, typer.Argument(metavar="MODEL")],
    prompt: Annotated[str | None, typer.Argument(help="Left out: read from standard input, or a dialogue.")] = None,
    system: Annotated[str | None, typer.Option(help="What the model is told first.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1)] = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=2)] = None,
    seed: Annotated[int | None, typer.Option()] = None,
) -> None:
    """Send a prompt and stream the answer; without one, hold a dialogue."""
    options = {"max_completion_tokens": max_tokens, "temperature": temperature, "seed": seed}
    settings = {name: value for name, value in options.items() if value is not None}
    messages = [{"role": "system", "content": system}] if system else []
    if prompt is None and sys.stdin.isatty():
        _dialogue(session, model, messages, settings)
        return
    messages.append({"role": "user", "content": sys.stdin.read() if prompt is None else prompt})
    if session.format is Format.TABLE:
        _answer(session, model, messages, settings)
    else:
        create: Any = session.client.chat.completions.create  # overloads cannot express **settings
        completion = create(model=model, messages=messages, **settings)
        session.write(json.dumps(completion.to_dict(mode="json"), ensure_ascii=False, indent=2))


def _dialogue(session: Session, model: str, messages: list[dict[str, str]], settings: dict[str, Any]) -> None:
    session.say("Ctrl-D ends the dialogue.")
    while True:
        try:
            text = input("> ")
        except EOFError:
            return
        if text.strip():
            messages.append({"role": "user", "content": text})
            messages.append({"role": "assistant", "content": _answer(session, model, messages, settings)})


def _answer(session: Session, model: str, messages: list[dict[str, str]], settings: dict[str, Any]) -> str:
    """Stream one answer to the screen and return its text."""
    create: Any = session.client.chat.completions.create  # overloads cannot express **settings
    parts: list[str] = []
    thinking = False
    with create(model=model, messages=messages, stream=True, **settings) as stream:
        for chunk in stream:
            delta = chunk.choices[0].delta if chunk.choices else None
            reasoning = getattr(delta, "reasoning_content", None)
            content = getattr(delta, "content", None)
            if reasoning and not session.quiet:
                thinking = True
                typer.echo(dimmed(reasoning), err=True, nl=False)
            if content:
                if thinking:
                    typer.echo("", err=True)
                    thinking = False
                parts.append(content)
                typer.echo(content, nl=False)
                sys.stdout.flush()
    typer.echo("")
    return "".join(parts)


def dimmed(text: str) -> str:
    return f"\x1b[2m{text}\x1b[0m" if sys.stderr.isatty() and not env.no_color() else text
