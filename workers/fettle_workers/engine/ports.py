"""What the training side needs from outside. Implementations are in `adapters/`; `main.py` chooses them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from fettle_graders.grade import Grade
from fettle_graders.sample import Sample
from fettle_workers.contract.events import CheckpointManifest, Event, FileEntry

if TYPE_CHECKING:  # a port is known without loading torch
    from fettle_workers.engine.sampler import Completion, Request, SamplingParams


class Sampler(Protocol):
    """Token ids in, token ids and their logprobs out, from the policy as it is at the time of the call."""

    def sample(self, requests: Sequence[Request], params: SamplingParams) -> Iterator[Completion]:
        """Completions of all requests in any order, each as soon as it finishes."""
        ...

    def reload(self) -> None:
        """Forget what is held of the policy: the next call reads it anew."""
        ...


class GraderRunner(Protocol):
    """The job's grader, ready to grade."""

    @property
    def needs_group(self) -> bool:
        """Whether it compares the completions of a row with each other, so that one alone cannot be graded."""
        ...

    def submit(self, item: dict[str, Any], samples: Sequence[Sample]) -> Callable[[], list[Grade]]:
        """Have completions of a row graded: one, or all of them if it `needs_group`.

        Whatever waits for something outside this process does so while the caller goes on.

        Returns:
            What waits for the grades, one for each completion in order. A failed grade has no score; nothing is raised
            for it.
        """
        ...


class EventSink(Protocol):
    def emit(self, event: Event) -> None: ...


class CheckpointStore(Protocol):
    """Committed checkpoints of one job in its work folder."""

    def commit(self, step: int, write: Callable[[Path], CheckpointManifest]) -> tuple[str, CheckpointManifest]:
        """Have `write` fill an empty folder, then make it the checkpoint of `step` in one move.

        `write` returns the manifest without `files`; the store digests the files and writes the manifest last. A kill
        at any moment leaves either the whole checkpoint or nothing that `newest` would return.

        Returns:
            The folder relative to the work folder, and the complete manifest.
        """
        ...

    def store_final(self, name: str, write: Callable[[Path], None]) -> tuple[str, FileEntry]:
        """Have `write` make one file that belongs to no checkpoint, and put it in place in one move.

        Again with any name replaces what was there.

        Returns:
            The file's folder relative to the work folder, and its size and digest.
        """
        ...

    def newest(self) -> Path | None:
        """The folder to resume from: the newest one whose every file has the size and digest of its manifest."""
        ...

    def adapter(self, step: int, digest: str) -> Path | None:
        """The folder with the adapter of a candidate, wherever it is at hand; None when it is not."""
        ...

    def discard_after(self, step: int) -> None:
        """Forget checkpoints of later steps, and what `store_final` made: that timeline is not continued."""
        ...


class Control(Protocol):
    """Commands to the trainer, honoured at step boundaries."""

    def poll(self) -> Literal["pause", "cancel", "preempt", "finish"] | None: ...
