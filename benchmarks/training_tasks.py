"""What `engine_vs_trl.py` trains: short answers that are learned, or completions of very different length.

`demo` is the demo's job. `varied` is for speed only: the bundled model's own answers end after 6 to 41 tokens, so a
copy of it gets a head of its own in which the end of turn is weaker, and answers go on for a while after they are done.
A tenth end within 17 tokens, half within 43, a tenth run to the limit of 192. The reward is 1 for an answer with two
blanks in a row, which a third of them have.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from fettle_workers.contract.catalogue import BUNDLED

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
MODEL = EXAMPLES.parent / "workers" / "fettle_workers" / "base_models" / BUNDLED

END_OF_TURN_SCALE = 0.35  # of its row in the head
WANTED = "  "
HOLDS_WANTED = {
    "type": "string_check",
    "name": "blanks",
    "operation": "like",
    "input": "{{sample.output_text}}",
    "reference": WANTED,
}


@dataclass(frozen=True)
class Task:
    """What both sides train on. `holds` is what TRL's reward looks for in an answer; None: the row's exact answer."""

    name: str
    model: Path
    rows: Path
    grader: dict[str, Any]
    max_completion_tokens: int
    is_learned: bool = True
    holds: str | None = None


def make_task(name: str, folder: Path) -> Task:
    if name == "varied":
        model = _ends_late(MODEL, folder / "model")
        return Task(name, model, EXAMPLES / "sort", HOLDS_WANTED, 192, is_learned=False, holds=WANTED)
    rows = EXAMPLES / name
    return Task(name, MODEL, rows, json.loads((rows / "grader.json").read_text()), 96)


def _ends_late(source: Path, folder: Path) -> Path:
    """Copy the bundled model with a weaker end of turn."""
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text())
    tensors = load_file(folder / "model.safetensors")
    head = tensors["model.embed_tokens.weight"].clone()
    head[config["eos_token_id"]] *= END_OF_TURN_SCALE
    save_file(tensors | {"lm_head.weight": head}, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    return folder
