"""`fettle up`: API, Celery worker thread and tick thread in this process; trainer and model server are its children.

This is the one place where control plane and workers meet in a process. They still speak HTTP with each other, so
that one code path serves this mode and the separate processes of production.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time

from fettle_platform.config.env import Env, load_env
from fettle_platform.config.start import (
    CannotStart,
    announce_key,
    fail,
    hold_lock,
    listen,
    migrate,
    sign_in_address,
    url_of,
)

log = logging.getLogger(__name__)


def run(host: str, port: int) -> None:
    """Serve until Ctrl-C. A second Ctrl-C ends at once; a job that was running goes on at the next start."""
    env = load_env()
    try:
        with hold_lock(env.data_dir / "server.lock"):
            _run(env, host, port)
    except BlockingIOError:
        fail(CannotStart(f"another `fettle up` uses the data folder {env.data_dir}; stop it or choose --data-dir"))
    except CannotStart as error:
        fail(error)


def _run(env: Env, host: str, port: int) -> None:
    listener = listen(host, port)
    inference_port = _free_port()
    os.environ.setdefault("FETTLE_INFERENCE_URL", f"http://127.0.0.1:{inference_port}")
    os.environ.setdefault("FETTLE_LOG_FILE", str(env.data_dir / "server.log"))
    os.environ.update(
        FETTLE_CONTROL_PLANE_URL=url_of(listener),
        FETTLE_WORKER_TOKEN=env.resolved_worker_token(),
        FETTLE_DATA_DIR=str(env.data_dir),
        FETTLE_STORE_URL=env.resolved_store_url,
    )
    load_env.cache_clear()
    migrate()

    from fettle_platform.config.web_server import WebServer

    stop = threading.Event()
    threads = _Threads(env, inference_port, stop)
    _take_back_running_jobs(env)

    def ready() -> None:
        threads.start()
        print(f"Open {page}  (signs you in, once)", flush=True)
        print(
            f"Fettle is ready at {url_of(listener)}  (data and server.log in {env.data_dir}; Ctrl-C stops)", flush=True
        )

    announce_key()
    page = sign_in_address(url_of(listener))
    WebServer(on_ready=ready, before_exit=threads.end).run([listener])


def _take_back_running_jobs(env: Env) -> None:
    """With a broker inside this process there is no other worker, so every lease is a dead process's."""
    if env.broker_url.startswith("memory:"):
        from django.utils import timezone

        from fettle_platform.jobs.leases import jobs_requeue_all

        jobs_requeue_all(now=timezone.now())


class _Threads:
    """The worker, the tick loop and the model server's keeper. They end in the order in which they need each other."""

    def __init__(self, env: Env, inference_port: int, stop: threading.Event) -> None:
        from fettle_platform.config.model_server import keep_running
        from fettle_platform.jobs.tick import tick_loop
        from fettle_workers.celery import app, stopping

        self._stop, self._stopping = stop, stopping
        self._celery = app.WorkController(
            pool_cls="threads", concurrency=1, without_gossip=True, without_mingle=True, without_heartbeat=True
        )
        self._worker = threading.Thread(target=self._celery.start, name="worker", daemon=True)
        self._tick = threading.Thread(target=tick_loop, args=(stop,), name="tick", daemon=True)
        self._models = threading.Thread(
            target=keep_running, args=(env, inference_port, stop), name="model-server", daemon=True
        )

    def start(self) -> None:
        for thread in (self._worker, self._tick, self._models):
            thread.start()

    def end(self) -> None:
        """Hand the running job back at its next step boundary, with a checkpoint, while the API still answers."""
        from celery.worker import state

        from fettle_platform.jobs.wake import wake_tick

        print("Stopping: the running job is handed back with a checkpoint. Ctrl-C again ends at once.", flush=True)
        self._stopping.set()
        while state.active_requests and self._worker.is_alive():
            time.sleep(0.05)
        state.should_stop = os.EX_OK
        self._stop.set()
        wake_tick()
        for thread in (self._models, self._tick):
            thread.join(10)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
