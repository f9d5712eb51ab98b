"""uvicorn, with an orderly end: others finish first what still needs the API."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from types import FrameType

import uvicorn


class WebServer(uvicorn.Server):
    """Serves until SIGINT or SIGTERM. Then `before_exit` runs while requests are still answered; a second signal ends
    everything at once.

    `on_ready` is called once the first request can be answered.
    """

    def __init__(
        self,
        *,
        on_ready: Callable[[], None] = lambda: None,
        before_exit: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                "fettle_platform.config.asgi:application",
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=5,
                server_header=False,
            )
        )
        self._on_ready, self._before_exit = on_ready, before_exit
        self._ending = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Known only here, once the application is loaded. Streams would keep the server waiting for its patience.
        from fettle_platform.jobs.stream import hub

        hub.close()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._ending:
            os._exit(130)  # children see their pipes close and end too; the next start takes the job up again
        self._ending = True
        threading.Thread(target=self._end, name="shutdown", daemon=True).start()

    def _end(self) -> None:
        try:
            self._before_exit()
        finally:
            self.should_exit = True
