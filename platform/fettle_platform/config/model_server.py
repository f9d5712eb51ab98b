"""The CPU model server as a child process: started again when it ends, gone when this process is."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from fettle_platform.config.env import Env

RESTART_S = 5.0


def command(env: Env, host: str, port: int, *, supervised: bool) -> list[str]:
    cache: Path = env.data_dir / "cache" / "adapters"
    arguments = [sys.executable, "-m", "fettle_workers.serving", "--host", host, "--port", str(port)]
    arguments += ["--store-url", env.resolved_store_url, "--cache-dir", str(cache)]
    if env.models_file is not None:
        arguments += ["--models-file", str(env.models_file)]
    return [*arguments, "--supervised"] if supervised else arguments


def keep_running(env: Env, port: int, stop: threading.Event) -> None:
    """Run the model server until `stop` is set, then end it. Its standard input is our sign of life: when this
    process is killed the pipe closes and the server ends itself."""
    arguments = command(env, "127.0.0.1", port, supervised=True)
    with (env.data_dir / "model-server.log").open("ab") as log:
        while not stop.is_set():
            child = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)
            while child.poll() is None and not stop.wait(0.5):
                pass
            if child.poll() is None:
                child.terminate()
                try:
                    child.wait(5)
                except subprocess.TimeoutExpired:
                    child.kill()
            child.wait()
            stop.wait(RESTART_S)
