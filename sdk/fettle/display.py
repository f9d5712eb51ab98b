"""Draw a job's progress: a live panel in a terminal, one line for each change elsewhere, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Protocol

from fettle import env
from fettle.progress import (
    Progress,
    event_line,
    held_out_words,
    number_words,
    sparkline,
    status_line,
    step_words,
)

if TYPE_CHECKING:
    from openai.types.fine_tuning import FineTuningJobEvent
    from rich.console import Console, RenderableType

    from fettle.job_view import JobView


class Display(Protocol):
    def update(self, progress: Progress) -> None:
        """The state changed."""

    def say(self, line: str) -> None:
        """Something happened."""

    def close(self) -> None:
        """Leave the screen as a reader should find it."""


class Silent:
    """Draws nothing."""

    def update(self, progress: Progress) -> None:
        pass

    def say(self, line: str) -> None:
        pass

    def close(self) -> None:
        pass


class Plain:
    """One line for each change, for logs and pipes."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def update(self, progress: Progress) -> None:
        pass

    def say(self, line: str) -> None:
        print(line, file=self._stream, flush=True)

    def close(self) -> None:
        pass


class Live:
    """A panel that redraws in place; messages scroll by above it."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live as RichLive

        self._console = console
        self._live = RichLive(console=console, refresh_per_second=4, transient=False)
        self._live.start()

    def update(self, progress: Progress) -> None:
        self._live.update(panel(progress))

    def say(self, line: str) -> None:
        # The panel shows the numbers already; only sentences scroll.
        if not line.startswith("step "):
            self._console.print(line, markup=False, highlight=False)

    def close(self) -> None:
        self._live.stop()


def panel(progress: Progress) -> RenderableType:
    """Status, bar with ETA, rewards, as one renderable."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    latest = progress.latest
    style = {"succeeded": "green", "failed": "red", "cancelled": "yellow"}.get(progress.status, "cyan")
    head = Text.assemble((progress.job_id, "bold"), "  ", (progress.phase, style))
    if progress.status == "succeeded" and progress.model:
        head.append(f"  {progress.model}")
    parts: list[RenderableType] = [head]
    if latest.step is not None:
        bar = Table.grid(padding=(0, 2))
        eta = [word for word in number_words(latest) if word.startswith("ETA")] if progress.status == "running" else []
        bar.add_row(ProgressBar(total=latest.total_steps, completed=latest.step, width=32), step_words(latest), *eta)
        parts.append(bar)
    held_out = held_out_words(latest)
    numbers = [word for word in number_words(latest) if word != held_out and not word.startswith("ETA")]
    if numbers or held_out:
        line = Text(sparkline(progress.rewards) + "  " if progress.rewards else "", style="cyan")
        line.append("  ".join(numbers), style="default")
        if held_out:
            line.append(f"  {held_out}", style="bold")
        parts.append(line)
    return Group(*parts)


class Narrator:
    """Tells a display what a watcher sees. One for each watch."""

    def __init__(self, job_id: str, display: Display) -> None:
        self._display = display
        self._progress = Progress(job_id, status="")

    def status(self, job: JobView) -> None:
        """Show the phase; say a change of status, and after the end the one line that matters."""
        changed = job.status != self._progress.status
        self._progress = self._progress.with_status(job.status, phase=job.phase, model=job.fine_tuned_model)
        self._display.update(self._progress)
        if changed:
            self._display.say(status_line(self._progress))
            if job.done and (ending := job.ending()):
                self._display.say(ending)

    def event(self, event: FineTuningJobEvent) -> None:
        data = event.data if isinstance(event.data, Mapping) else None
        self._progress = self._progress.with_event(data)
        self._display.update(self._progress)
        self._display.say(event_line(event.message, level=event.level, data=data))

    def say(self, line: str) -> None:
        self._display.say(line)

    def close(self) -> None:
        self._display.close()


def display_for(draw: bool | None, stream: IO[str] | None = None) -> Display:
    """`draw` None chooses by the stream: a live panel in a terminal, plain lines elsewhere. False draws nothing."""
    if draw is False:
        return Silent()
    stream = stream or sys.stderr
    if not stream.isatty():
        return Plain(stream)
    from rich.console import Console

    return Live(Console(file=stream, no_color=env.no_color()))
