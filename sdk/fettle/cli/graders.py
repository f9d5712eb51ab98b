"""`fettle graders`: check, try, test and keep graders, before a job depends on one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from fettle.cli.session import Session, record, verb

app = typer.Typer(help="Check, try, test and keep graders.", no_args_is_help=True, rich_markup_mode=None)

GraderFile = Annotated[Path, typer.Argument(metavar="FILE", help=".json, .toml or .py")]
AnyGrader = Annotated[str, typer.Argument(metavar="GRADER", help="A file, or the id of a stored grader or version.")]
GraderId = Annotated[str, typer.Argument(metavar="GRADER_ID")]
Data = Annotated[str | None, typer.Option("--data", help="Rows: a path or a file id.")]
Gold = Annotated[str | None, typer.Option(help="Writes each row's right answer: '{{item.answer}}'.")]
NumRows = Annotated[int | None, typer.Option("--rows", min=1, max=500, help="At most this many, spread evenly.")]


@verb(app)
def validate(session: Session, grader: GraderFile) -> None:
    """Have the server check a grader; prints it as the server understands it."""
    found = session.client.graders.validate(grader)
    session.item(found, json.dumps(found, ensure_ascii=False, indent=2), id_key="name")
    session.say(f"{grader}: valid")


@verb(app)
def run(
    session: Session,
    grader: GraderFile,
    answer: Annotated[str, typer.Option(help="What the model would have answered.")],
    item: Annotated[str, typer.Option(help="The data row, as JSON or as @file.")] = "{}",
    offline: Annotated[bool, typer.Option("--offline", help="On this machine; needs fettle-server.")] = False,
) -> None:
    """Grade one answer."""
    if offline:
        from fettle import graders
        from fettle.grader_function import check_offline

        result = check_offline(graders.load(grader), answer, read_item(item))
    else:
        result = session.client.graders.run(grader, answer=answer, item=read_item(item))
    lines = [f"reward {result.reward:g}"]
    lines += [f"  {name} {value:g}" for name, value in (result.sub_rewards or {}).items()]
    lines += [f"  {name}: {value}" for name, value in result.errors.items()]
    session.item(record(result), "\n".join(lines), id_key="reward")
    if result.errors:
        session.say("the grader failed on this answer; in training it would be left out, not counted as 0")
        raise typer.Exit(1)


@verb(app, "test")
def batch(
    session: Session,
    grader: AnyGrader,
    data: Data = None,
    source: Annotated[
        str, typer.Option("--from", help="reference, the id of a job or preflight, or a model's name.")
    ] = "reference",
    gold: Gold = None,
    rows: NumRows = None,
) -> None:
    """Grade many answers: spread, failures, and the right answers that do not win."""
    found = session.client.graders.test(grader, data, source=source, gold=gold, num_rows=rows)
    session.item(record(found), str(found), id_key="num_answers")
    if found.gold and found.gold["num_missed"]:
        raise typer.Exit(1)


@verb(app)
def redteam(
    session: Session,
    grader: AnyGrader,
    data: Data = None,
    gold: Gold = None,
    honest: Annotated[
        str | None, typer.Option(help="Honest answers: the id of a job or preflight, or a model's name.")
    ] = None,
    rows: NumRows = None,
) -> None:
    """Try answers that deserve nothing. Exits with 1 when one of them scores as well as honest ones."""
    found = session.client.graders.red_team(grader, data, gold=gold, honest=honest, num_rows=rows)
    session.item(record(found), str(found), id_key="verdict")
    if found.verdict == "hackable":
        raise typer.Exit(1)


@verb(app)
def regrade(
    session: Session,
    grader: AnyGrader,
    job: Annotated[str, typer.Option(metavar="JOB_ID", help="Whose stored answers.")],
    step: Annotated[int | None, typer.Option(min=0, help="Only this step.")] = None,
    purpose: Annotated[str | None, typer.Option(help="train, eval, final, report or preflight.")] = None,
    groups: Annotated[int | None, typer.Option(min=1, max=500, help="At most this many, spread evenly (100).")] = None,
) -> None:
    """Grade a job's stored answers anew: what training would have done differently."""
    found = session.client.graders.regrade(grader, job, step=step, purpose=purpose, num_groups=groups)
    session.item(record(found), str(found), id_key="job_id")


@verb(app)
def calibrate(
    session: Session,
    grader: AnyGrader,
    ratings: Annotated[
        Path, typer.Argument(metavar="RATINGS", exists=True, dir_okay=False, help="JSON Lines: item, text, label.")
    ],
    repeats: Annotated[int | None, typer.Option(min=1, max=10, help="Grade each answer so often (2).")] = None,
    label_threshold: Annotated[float | None, typer.Option(help="From where on a label passes.")] = None,
    score_threshold: Annotated[float | None, typer.Option(help="From where on a score passes.")] = None,
) -> None:
    """Compare a grader with people's ratings. Exits with 1 when it should not be used."""
    found = session.client.graders.calibrate(
        grader,
        read_ratings(ratings),
        repeats=repeats,
        label_threshold=label_threshold,
        score_threshold=score_threshold,
    )
    session.item(record(found), str(found), id_key="verdict")
    if found.verdict == "do_not_use":
        raise typer.Exit(1)


@verb(app)
def store(
    session: Session,
    grader: GraderFile,
    name: Annotated[str | None, typer.Option(help="Left out: the file's name.")] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="GRADER_ID", help="Add a version to this grader instead.")
    ] = None,
    note: Annotated[str, typer.Option(help="What is new, for people.")] = "",
) -> None:
    """Keep a grader under a name, or add a version to one."""
    if to is not None:
        version = session.client.graders.add_version(to, grader, note=note)
    else:
        version = session.client.graders.store(name or grader.stem, grader, note=note).newest
    session.item(record(version), f"{version.id}  {version.name} version {version.number} ({version.grader_id})")


@verb(app, "list")
def list_(session: Session, limit: Annotated[int, typer.Option(min=1)] = 20) -> None:
    """List stored graders, newest first."""
    found = [record(grader) for grader in session.client.graders.list(limit=limit)]
    session.items(found, ["id", "name", "num_versions", "newest.id", "newest.grader.type"])


@verb(app)
def versions(session: Session, grader_id: GraderId) -> None:
    """List the versions of a grader, newest first."""
    found = [record(version) for version in session.client.graders.versions(grader_id)]
    session.items(found, ["number", "id", "created_at", "note"])


@verb(app)
def diff(
    session: Session,
    grader_id: GraderId,
    old: Annotated[int | None, typer.Option("--from", min=1, help="The version before --to, if left out.")] = None,
    new: Annotated[int | None, typer.Option("--to", min=1, help="The newest, if left out.")] = None,
) -> None:
    """Show what differs between two versions."""
    found = session.client.graders.diff(grader_id, old=old, new=new)
    lines = [f"version {found['from']['number']} → {found['to']['number']}"]
    lines += [
        f"  {change['path']}: {json.dumps(change['from'], ensure_ascii=False)} → "
        f"{json.dumps(change['to'], ensure_ascii=False)}"
        for change in found["changes"]
    ]
    session.item(found, "\n".join(lines), id_key="object")


@verb(app)
def delete(session: Session, grader_id: GraderId) -> None:
    """Hide a stored grader. Jobs keep the definition they were made with."""
    session.client.graders.delete(grader_id)
    session.say(f"{grader_id}: deleted")


def read_item(text: str) -> dict[str, Any]:
    """A row from JSON text or, with `@` before it, from a file."""
    from fettle.errors import InvalidRequest

    source = Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text
    try:
        row = json.loads(source)
    except ValueError as error:
        raise InvalidRequest(f"--item is not valid JSON: {error}") from error
    if not isinstance(row, dict):
        raise InvalidRequest(f"--item must be a JSON object, found {type(row).__name__}")
    return row


def read_ratings(path: Path) -> list[dict[str, Any]]:
    """One `{"item": ..., "text": ..., "label": ...}` a line."""
    from fettle.errors import InvalidRequest

    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rating = json.loads(line)
        except ValueError as error:
            raise InvalidRequest(f"{path} line {number} is not valid JSON: {error}") from error
        if not isinstance(rating, dict) or not {"item", "text", "label"} <= rating.keys():
            raise InvalidRequest(f"{path} line {number} needs the keys item, text and label")
        found.append({key: rating[key] for key in ("item", "text", "label")})
    return found
