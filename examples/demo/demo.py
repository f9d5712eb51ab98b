"""From nothing to a measurably better model: starts Fettle, sends data and a grader, trains, and shows the proof.

    make demo
    python examples/demo/demo.py --seed 3 --task json     # another seed, another of the example tasks

Everything goes through the public API. The server runs in a throw-away folder on a free port and is gone afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fettle import Fettle
from fettle.jobs import FineTuneJob
from fettle.results import Selection

EXAMPLES = Path(__file__).parents[1]
START_TIMEOUT_S = 60
console = Console(highlight=False)


def main() -> int:
    options = parse_arguments()
    data_dir = Path(tempfile.mkdtemp(prefix="fettle-demo-"))
    started = time.monotonic()
    with server(data_dir) as (url, page, api_key):
        console.print(f"Fettle runs at {url} after {time.monotonic() - started:.1f} s, data in {data_dir}")
        console.print(f"Watch it in a browser: {page}", soft_wrap=True)
        client = Fettle(base_url=f"{url}/v1", api_key=api_key)
        job = start_job(client, EXAMPLES / options.task, options.seed)
        job.wait(poll_s=0.5)
        selection = client.fettle.selection(job.id)
        show_gain(selection)
        show_examples(selection)
        ask_both(client, job, selection)
    show_next_steps(data_dir, api_key)
    if options.json:
        Path(options.json).write_text(json.dumps(selection.to_dict()))
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the bundled model on one of the example tasks.")
    parser.add_argument("--task", default="demo", help="folder below examples/ (default: demo)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", help="also write the selection to this file")
    return parser.parse_args()


@contextlib.contextmanager
def server(data_dir: Path) -> Iterator[tuple[str, str, str]]:
    """`fettle up` on a free port; yields its address, the one that signs a browser in, and an API key."""
    api_key = f"fk_{secrets.token_hex(20)}"
    process = subprocess.Popen(
        [Path(sys.executable).with_name("fettle"), "up", "--port", "0", "--data-dir", data_dir],
        env=os.environ | {"FETTLE_BOOTSTRAP_API_KEY": api_key},
        stdout=subprocess.PIPE,
        stderr=(data_dir / "server.log").open("w"),
        text=True,
        start_new_session=True,
    )
    try:
        yield *wait_until_ready(process, data_dir), api_key
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def wait_until_ready(process: subprocess.Popen[str], data_dir: Path) -> tuple[str, str]:
    page = ""
    deadline = time.monotonic() + START_TIMEOUT_S
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"Open (\S+)", line):
            page = found.group(1)
        if found := re.search(r"ready at (\S+)", line):
            return found.group(1), page
        if time.monotonic() > deadline:
            break
    sys.exit(f"The server did not start. Its log:\n{(data_dir / 'server.log').read_text()[-3000:]}")


def start_job(client: Fettle, task: Path, seed: int) -> FineTuneJob:
    grader = json.loads((task / "grader.json").read_text())
    console.print(f"Task [bold]{task.name}[/bold], base model fettle-tiny, grader: {grader['type']}")
    return client.finetune(
        model="fettle-tiny",
        data=task / "train.jsonl",
        validation=task / "validation.jsonl",
        grader=grader,
        suffix="demo",
        seed=seed,
        n_epochs=4,  # about a minute of one core; left out, training goes on until held-out rows stop gaining
    )


def show_gain(best: Selection) -> None:
    console.rule("Is it better?")
    table = Table("", "held-out score")
    table.add_row("base", f"{best.base_mean:.3f}")
    table.add_row(f"tuned (step {best.chosen_step})", f"{best.chosen_mean:.3f}")
    interval = f"{best.gain_low:+.3f} to {best.gain_high:+.3f}"
    table.add_row("gain", f"[bold]{best.gain:+.3f}[/bold]  ({best.confidence:.0%} interval {interval})")
    console.print(table)
    console.print(f"Verdict: [bold]{best.verdict}[/bold], measured on {best.measured_on}.")
    console.print(f"Why this checkpoint: {best.rule}")


def show_examples(best: Selection) -> None:
    console.rule("Before and after")
    for example in best.examples[:3]:
        console.print(f"[bold]{example.prompt.strip()}[/bold]", markup=True)
        for name, text, reward in (
            ("base ", example.before, example.before_reward),
            ("tuned", example.after, example.after_reward),
        ):
            mark = "[green]right[/green]" if reward else "[red]wrong[/red]"
            console.print(f"  {name} {mark}  ", end="")
            console.print(" ".join(text.split())[:150], markup=False)


def ask_both(client: Fettle, job: FineTuneJob, best: Selection) -> None:
    """The served models answer too, each by its public name."""
    console.rule("Served")
    question = best.examples[0].prompt if best.examples else "Find the maximum of 12, 30, 7."
    console.print(f"[bold]{question}[/bold]")
    for model in ("fettle-tiny", job.fine_tuned_model):
        answer = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": question}], temperature=0, max_tokens=128
        )
        console.print(f"  {model}: ", end="")
        console.print(answer.choices[0].message.content, markup=False)


def show_next_steps(data_dir: Path, api_key: str) -> None:
    console.rule("Next")
    console.print(f"Look at this run again:    .venv/bin/fettle up --data-dir {data_dir}", soft_wrap=True)
    console.print("                           and open the page whose address it prints", soft_wrap=True)
    console.print(
        f"                           export FETTLE_API_KEY={api_key}; .venv/bin/fettle jobs list", soft_wrap=True
    )
    console.print("Run your own:              .venv/bin/fettle up", soft_wrap=True)
    console.print(
        "                           .venv/bin/fettle jobs create --model fettle-tiny --data train.jsonl "
        "--grader grader.json --wait",
        soft_wrap=True,
    )
    console.print(
        "Another task or seed:      .venv/bin/python examples/demo/demo.py --task json --seed 2", soft_wrap=True
    )


if __name__ == "__main__":
    sys.exit(main())
