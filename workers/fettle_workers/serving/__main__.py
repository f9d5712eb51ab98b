"""`python -m fettle_workers.serving`: the model server as a process."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import socket
import sys
import threading
from pathlib import Path

import transformers
import uvicorn

from fettle_workers.adapters.embedder import TorchEmbedder
from fettle_workers.adapters.scorer import TorchScorer
from fettle_workers.contract.catalogue import embedding_model, load_catalogue, load_reward_models
from fettle_workers.engine.model import use_threads
from fettle_workers.serving.app import create_app
from fettle_workers.serving.models import Models
from fettle_workers.serving.plans import Plans
from fettle_workers.serving.scheduler import Scheduler
from fettle_workers.serving.scoring import Scoring
from fettle_workers.store import open_store

_GRACE_S = 5


class _Server(uvicorn.Server):
    """Says on standard output, in one line of JSON, when requests are answered and where."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started and sockets:
            print(json.dumps({"ready": True, "port": sockets[0].getsockname()[1]}), flush=True)


def main() -> None:
    options = _options()
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    transformers.utils.logging.disable_progress_bar()
    use_threads(options.threads)
    store = open_store(options.store_url)
    models = Models(load_catalogue(options.models_file), store, options.cache_dir)
    listener = socket.create_server((options.host, options.port))
    config = uvicorn.Config(
        create_app(models, Scheduler(), Plans(store), _scoring(options.models_file)),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_GRACE_S,
        ws="none",
    )
    server = _Server(config)
    if options.supervised:
        threading.Thread(target=_end_with_parent, args=(server,), daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn repeats Ctrl-C once it has ended in order
        server.run(sockets=[listener])


def _scoring(models_file: Path | None) -> Scoring:
    folders, folder = load_reward_models(models_file), embedding_model(models_file)
    return Scoring(TorchScorer(folders) if folders else None, TorchEmbedder(folder) if folder else None)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fettle_workers.serving", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free port, told on standard output")
    parser.add_argument("--store-url", required=True, help="file:///folder or s3://bucket/prefix")
    parser.add_argument("--models-file", type=Path, help="models.toml; without it only the bundled model is served")
    parser.add_argument("--cache-dir", type=Path, required=True, help="where pulled adapters are kept")
    parser.add_argument("--threads", type=int, default=1, help="threads torch computes with")
    parser.add_argument("--supervised", action="store_true", help="exit when standard input ends")
    return parser.parse_args()


def _end_with_parent(server: uvicorn.Server) -> None:
    while sys.stdin.buffer.read(4096):
        pass
    server.should_exit = True
    threading.Event().wait(_GRACE_S + 1)
    os._exit(0)  # a step that does not end must not outlive the parent


if __name__ == "__main__":
    main()
