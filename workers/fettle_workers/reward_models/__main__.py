"""Train a reward model from graded rollouts.

    python -m fettle_workers.reward_models --rows train.jsonl --rollouts step-*/rollouts.parquet --out my-reward-model

Then name its folder in models.toml, `[reward_models.mine]` with `source = "/path/my-reward-model"`, and use
`{"type": "reward_model", "model": "mine"}`; with `--kind process`, `{"type": "process", "model": "mine"}`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fettle_graders.errors import GraderError


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    # Imported here: torch takes seconds, and --help should not wait for it.
    import torch

    from fettle_workers.adapters.scorer import RewardModel, RewardModelError
    from fettle_workers.contract.catalogue import load_catalogue
    from fettle_workers.engine.model import resolve_source
    from fettle_workers.reward_models.train import NoExamplesError, read_examples, train_reward_model

    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    catalogue = load_catalogue(options.models_file)
    folder = Path(resolve_source(catalogue[options.base])) if options.base in catalogue else Path(options.base)
    templates = {name: value for name in ("prompt", "input") if (value := getattr(options, name)) is not None}
    try:
        examples = read_examples(options.rows, options.rollouts, kind=options.kind, **templates)
        model = RewardModel.load(folder, new_head=True, device="cuda" if torch.cuda.is_available() else "cpu")
    except (NoExamplesError, RewardModelError, GraderError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    trained = train_reward_model(model, examples, steps=options.steps, lr=options.lr, seed=options.seed)
    model.save(options.out)
    held_out = "" if trained.held_out_loss is None else f", held out {trained.held_out_loss:.3f}"
    pairs = (
        "" if trained.pair_accuracy is None else f"; {trained.pair_accuracy:.0%} of held-out pairs in the right order"
    )
    print(f"{trained.num_examples} answers, {trained.num_held_out} held out; loss {trained.first_loss:.3f} -> "
          f"{trained.last_loss:.3f}{held_out}{pairs}")  # fmt: skip
    print(f"wrote {options.out}")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m fettle_workers.reward_models",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", type=Path, required=True, help="the training file of the job")
    parser.add_argument("--rollouts", type=Path, nargs="+", required=True, help="rollouts.parquet files of the job")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--kind", choices=("outcome", "process"), default="outcome")
    parser.add_argument("--base", default="fettle-tiny", help="id in the catalogue, or a model directory")
    parser.add_argument("--models-file", type=Path, help="catalogue of models (models.toml)")
    parser.add_argument("--prompt", help="template, as the grader's; left out: its default")
    parser.add_argument("--input", help="template, as the grader's; left out: its default")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
