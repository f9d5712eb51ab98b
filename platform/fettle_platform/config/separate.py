"""The control plane's processes of production, each on its own: `fettle serve` and `fettle tick`."""

from __future__ import annotations

import signal
import threading
from types import FrameType

from fettle_platform.config.env import load_env
from fettle_platform.config.start import CannotStart, announce_key, fail, listen, migrate, url_of


def serve(host: str, port: int) -> None:
    try:
        listener = listen(host, port)
        migrate()
    except CannotStart as error:
        fail(error)
    from fettle_platform.config.web_server import WebServer

    announce_key()
    load_env().resolved_worker_token()  # a worker on this machine finds it in the data folder
    WebServer(on_ready=lambda: print(f"Fettle serves at {url_of(listener)}", flush=True)).run([listener])


def run_ticks() -> None:
    try:
        migrate()
    except CannotStart as error:
        fail(error)
    from fettle_platform.jobs.tick import tick_loop
    from fettle_platform.jobs.wake import wake_tick

    stop = threading.Event()

    def end(signum: int, frame: FrameType | None) -> None:
        stop.set()
        wake_tick()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    print("Fettle's background work runs", flush=True)
    tick_loop(stop, interval_s=1.0)
