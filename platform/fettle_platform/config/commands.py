"""The server's verbs of the `fettle` command. Each sets the environment first, because settings are read once."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Annotated, NoReturn

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")]
DataDir = Annotated[
    Path | None, typer.Option(help="Folder for database, store and secrets [env: FETTLE_DATA_DIR; else the user's].")
]


@app.command()
def up(host: Host = "127.0.0.1", port: Port = 8000, data_dir: DataDir = None) -> None:
    """Run the whole platform in one process until Ctrl-C: API, training worker and model server."""
    from fettle_platform.config.embedded import run

    _prepare(host, data_dir)
    run(host, port)


@app.command()
def serve(host: Host = "127.0.0.1", port: Port = 8000, data_dir: DataDir = None) -> None:
    """Run the API alone, beside `fettle worker`, `fettle tick` and `fettle infer`."""
    from fettle_platform.config.separate import serve as run

    _prepare(host, data_dir)
    run(host, port)


@app.command()
def tick(data_dir: DataDir = None) -> None:
    """Run the control plane's background work: validate, dispatch, take lost jobs back. More than one is harmless."""
    from fettle_platform.config.separate import run_ticks

    _prepare(None, data_dir)
    run_ticks()


@app.command()
def migrate(data_dir: DataDir = None) -> None:
    """Bring the database to this version. `fettle up` and `fettle serve` do it when they start."""
    from fettle_platform.config.start import migrate as run

    _prepare(None, data_dir)
    run()


@app.command(name="sign-in")
def sign_in(
    email: Annotated[str | None, typer.Argument(help="Who signs in; left out, the owner of `fettle up`.")] = None,
    url: Annotated[str, typer.Option(help="Address of the running server.")] = "http://127.0.0.1:8000",
    data_dir: DataDir = None,
) -> None:
    """Print a link that signs a browser in, once, within a day. Works where the server's database is reached."""
    from fettle_platform.config.start import CannotStart, sign_in_address

    _prepare(None, data_dir)
    _migrate()
    try:
        print(sign_in_address(url.rstrip("/"), email))
    except CannotStart as error:
        _refuse(str(error))


users = typer.Typer(no_args_is_help=True, help="People who sign in to the page.")
app.add_typer(users, name="users")


@users.command()
def add(
    email: str,
    owner: Annotated[bool, typer.Option("--owner", help="May also add and remove members.")] = False,
    url: Annotated[str, typer.Option(help="Address of the running server.")] = "http://127.0.0.1:8000",
    data_dir: DataDir = None,
) -> None:
    """Make a person a member of this server's organization and print the link of their first sign-in."""
    from fettle_platform.config.start import CannotStart, sign_in_address, user_add

    _prepare(None, data_dir)
    _migrate()
    try:
        user_add(email, is_owner=owner)
        print(sign_in_address(url.rstrip("/"), email))
    except CannotStart as error:
        _refuse(str(error))


@app.command()
def worker(data_dir: DataDir = None) -> None:
    """Train: take jobs from the broker, one at a time."""
    _set_data_dir(data_dir)
    if os.environ.get("FETTLE_BROKER_URL", "memory://").startswith("memory:"):
        _refuse(
            "fettle worker: FETTLE_BROKER_URL is not set, so no job can reach this process. Expected "
            "redis://host:6379/0 or amqp://user:password@host//, as for `fettle serve`; `fettle up` needs none."
        )
    from fettle_platform.config.env import load_env

    env = load_env()
    if env.worker_token is None and not (env.data_dir / "worker_token").exists():
        _refuse(
            "fettle worker: FETTLE_WORKER_TOKEN is not set, and there is no such file in the data folder "
            f"{env.data_dir}. Set it to the value that `fettle serve` has, or start `fettle serve` here first."
        )
    celery = ["-m", "celery", "--app", "fettle_workers.celery", "worker", "--queues", "train", "--concurrency", "1"]
    options = ["--pool", "threads", "--without-gossip", "--without-mingle", "--loglevel", "INFO"]
    os.execv(sys.executable, [sys.executable, *celery, *options])


@app.command()
def infer(host: Host = "127.0.0.1", port: Port = 8001, data_dir: DataDir = None) -> None:
    """Serve models on the CPU; `fettle serve` reaches it by FETTLE_INFERENCE_URL."""
    from fettle_platform.config.env import load_env
    from fettle_platform.config.model_server import command

    _set_data_dir(data_dir)
    os.execv(sys.executable, command(load_env(), host, port, supervised=False))


def _prepare(host: str | None, data_dir: Path | None) -> None:
    """Settings, folders and Django, in this order; a variable that is wrong ends the process with one message."""
    _set_data_dir(data_dir)
    if host is not None and host not in ("127.0.0.1", "localhost", "::1"):
        # Whoever listens on a network names the hosts it answers to, or answers to all: keys guard the API.
        os.environ.setdefault("FETTLE_ALLOWED_HOSTS", "*")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fettle_platform.config.settings")
    from fettle_platform.config.env import EnvironmentInvalid, load_env

    try:
        load_env().prepare_folders()
    except EnvironmentInvalid as error:
        _refuse(str(error))
    threading.current_thread().name = "main"


def _migrate() -> None:
    from fettle_platform.config.start import CannotStart
    from fettle_platform.config.start import migrate as run

    try:
        run()
    except CannotStart as error:
        _refuse(str(error))


def _set_data_dir(data_dir: Path | None) -> None:
    if data_dir is not None:
        os.environ["FETTLE_DATA_DIR"] = str(data_dir.expanduser().absolute())


def _refuse(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise typer.Exit(2)
