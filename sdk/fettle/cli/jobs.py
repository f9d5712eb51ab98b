"""`fettle jobs`: start, follow and read fine-tuning jobs."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from fettle.cli.session import Format, Session, details, record, verb

app = typer.Typer(help="Start, follow and read fine-tuning jobs.", no_args_is_help=True, rich_markup_mode=None)

COLUMNS = ["id", "status", "model", "fine_tuned_model", "created_at"]
JobArgument = Annotated[str, typer.Argument(metavar="JOB_ID")]
Limit = Annotated[int, typer.Option(min=1, help="At most this many.")]


@verb(app)
def create(
    session: Session,
    config: Annotated[
        Path | None, typer.Option("-c", "--config", exists=True, dir_okay=False, help="job.toml or job.json")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Base model, or a tuned one to continue.")] = None,
    data: Annotated[str | None, typer.Option(help="Training rows: a path or a file id.")] = None,
    validation: Annotated[str | None, typer.Option(help="Held-out rows: a path or a file id.")] = None,
    grader: Annotated[str | None, typer.Option(help="Path of a .json, .toml or .py file.")] = None,
    method: Annotated[str | None, typer.Option(help="reinforcement or supervised.")] = None,
    suffix: Annotated[str | None, typer.Option(help="Part of the tuned model's name.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**31 - 1)] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A training field, e.g. n_epochs=3.")
    ] = None,
    preflight: Annotated[str | None, typer.Option(metavar="PREFLIGHT_ID", help="Take over its graded answers.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Watch until it ends.")] = False,
    timeout: Annotated[float | None, typer.Option(help="With --wait: seconds.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the request, send nothing.")] = False,
) -> None:
    """Upload what is not uploaded yet and start a job."""
    from fettle.cli.job_config import job_arguments, preview, read_config

    flags = {
        "model": model,
        "data": data,
        "validation": validation,
        "grader": grader,
        "method": method,
        "suffix": suffix,
        "seed": seed,
        "preflight": preflight,
    }
    arguments = job_arguments(read_config(config) if config else {}, flags, settings or [])
    if dry_run:
        session.write(json.dumps(preview(arguments), ensure_ascii=False, indent=2))
        return
    job = session.client.finetune(**arguments, progress=False if session.quiet else None)
    if wait:
        job.wait(timeout, draw=False if session.quiet else None)
    session.item(record(job.raw), job.fine_tuned_model or f"{job.id}  {job.status}")
    if not wait:
        session.say(f"watch it: fettle jobs watch {job.id}")


@verb(app, "list")
def list_(session: Session, limit: Limit = 20) -> None:
    """List jobs, newest first."""
    jobs = islice(session.client.fine_tuning.jobs.list(limit=min(limit, 100)), limit)
    session.items([record(job) for job in jobs], COLUMNS)


@verb(app)
def get(session: Session, job_id: JobArgument) -> None:
    """Show one job."""
    found = record(session.client.fine_tuning.jobs.retrieve(job_id))
    session.item(found, details(found))


@verb(app)
def watch(
    session: Session,
    job_id: JobArgument,
    after: Annotated[str | None, typer.Option(metavar="EVENT_ID", help="Only later events.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds.")] = None,
) -> None:
    """Follow a job until it ends. Ctrl-C leaves it running. With --json, each event is a line on standard output."""
    job = session.client.fettle.job(job_id)
    as_lines = session.format is not Format.TABLE
    for event in job.watch(after=after, timeout=timeout, draw=False if session.quiet or as_lines else None):
        if as_lines:
            session.write(json.dumps(record(event), ensure_ascii=False))
    job.raise_unless_succeeded()
    if not as_lines:
        session.write(job.fine_tuned_model or job.id)


@verb(app)
def events(
    session: Session,
    job_id: JobArgument,
    after: Annotated[str | None, typer.Option(metavar="EVENT_ID", help="Only later events.")] = None,
) -> None:
    """List events, oldest first."""
    found = session.client.fettle.job(job_id).events(after=after)
    session.items([record(event) for event in found], ["created_at", "level", "message"])


@verb(app)
def pause(session: Session, job_id: JobArgument) -> None:
    """Stop after the running step, keeping a checkpoint."""
    _changed(session, session.client.fine_tuning.jobs.pause(job_id))


@verb(app)
def finish(session: Session, job_id: JobArgument) -> None:
    """Make no further steps; measure the best candidates so far and deliver one."""
    _changed(session, session.client.fettle.finish(job_id))


@verb(app)
def resume(session: Session, job_id: JobArgument) -> None:
    """Go on from the last checkpoint."""
    _changed(session, session.client.fine_tuning.jobs.resume(job_id))


@verb(app)
def cancel(session: Session, job_id: JobArgument) -> None:
    """End a job; a running one stops after its current step. Checkpoints made so far stay."""
    _changed(session, session.client.fine_tuning.jobs.cancel(job_id))


@verb(app)
def why(session: Session, job_id: JobArgument) -> None:
    """Which checkpoint was delivered, and why."""
    from fettle.results import why_text

    job = session.client.fettle.job(job_id)
    selection = session.client.fettle.selection(job_id) if job.best else None
    text = why_text(selection) if selection else job.undecided()
    session.item({"id": job.id, **(record(selection) if selection else {"verdict": None, "reason": text})}, text)


@verb(app)
def metrics(session: Session, job_id: JobArgument) -> None:
    """What was measured, step by step."""
    rows = session.client.fettle.job(job_id).metrics()
    columns = ["step", "train_mean_reward", "full_valid_mean_reward", "train_loss", "full_valid_loss", "fettle.kl_nats"]
    used = [name for name in columns if any(_present(row, name) for row in rows)] or columns[:1]
    session.items(rows, used, id_key="step")


@verb(app)
def rollouts(
    session: Session,
    job_id: JobArgument,
    step: Annotated[int | None, typer.Option(min=0, help="Only this step.")] = None,
    row: Annotated[int | None, typer.Option(min=0, help="Only this row, counted from 0.")] = None,
    purpose: Annotated[str | None, typer.Option(help="train, eval, final or report.")] = None,
    limit: Limit = 20,
) -> None:
    """Completions that were sampled, with their rewards."""
    found = session.client.fettle.rollouts(job_id, step=step, row=row, purpose=purpose, limit=limit)
    session.items([record(rollout) for rollout in found], ["step", "row", "purpose", "reward", "advantage", "text"])


@verb(app)
def checkpoints(session: Session, job_id: JobArgument) -> None:
    """Checkpoints that can be called by name."""
    found = session.client.fettle.job(job_id).checkpoints()
    columns = ["step_number", "fine_tuned_model_checkpoint", "metrics.full_valid_mean_reward", "created_at"]
    session.items([record(checkpoint) for checkpoint in found], columns)


def _changed(session: Session, job: Any) -> None:
    session.item(record(job), f"{job.id}  {job.status}")


def _present(row: Any, name: str) -> bool:
    from fettle.cli.session import cell

    return cell(row, name) != ""
