"""Where a trainer's events go."""

from __future__ import annotations

import threading
from typing import TextIO

from fettle_workers.contract.events import Event


class JsonLines:
    """One JSON object a line on a stream, flushed at once. Implements the engine's `EventSink`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def emit(self, event: Event) -> None:
        with self._lock:
            self._stream.write(event.model_dump_json() + "\n")
            self._stream.flush()
