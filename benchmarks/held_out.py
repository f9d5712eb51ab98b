"""The held-out measurement of `engine_vs_trl.py`, one code for both sides: answers of saved adapters, graded.

Reads one JSON object from standard input: `model`, `validation_file`, `grader_file`, `samples`, `lora_rank`,
`lora_alpha`, `max_completion_tokens`, `threads`, `threshold`, `dtype` of the base, and `steps`, which names an adapter
folder for each step. Writes one JSON object, the mean reward by step: of step 0 (the base), of every step up to the
first whose mean reaches the threshold, and of the last.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from fettle_graders.spec import parse_grader
from fettle_workers.adapters.graders import InProcessGraderRunner
from fettle_workers.contract.catalogue import BUNDLED
from fettle_workers.engine.data import Row, read_rows
from fettle_workers.engine.evaluate import answer
from fettle_workers.engine.lora import read_tensors
from fettle_workers.engine.model import Policy, load_policy, use_threads
from fettle_workers.engine.processes import Processes
from fettle_workers.engine.sampler import SamplingParams, TorchSampler

SEED = 20_260


def main() -> None:
    asked = json.loads(sys.stdin.readline())
    use_threads(asked["threads"])
    grader = parse_grader(json.loads(Path(asked["grader_file"]).read_text()))
    params = SamplingParams(max_new_tokens=asked["max_completion_tokens"], temperature=1.0)
    policy = load_policy(
        Path(asked["model"]),
        base_model_id=BUNDLED,
        lora_rank=asked["lora_rank"],
        lora_alpha=asked["lora_alpha"],
        dtype=asked["dtype"],
    )
    rows = rendered(policy, Path(asked["validation_file"]))
    with InProcessGraderRunner(grader) as graders:

        def mean() -> float:
            return mean_reward(policy, rows, graders, params, samples=asked["samples"])

        print(json.dumps(curve(policy, asked["steps"], mean, threshold=asked["threshold"])))


def rendered(policy: Policy, file: Path) -> list[Row]:
    return [
        Row(row.source, row.index, row.item, tuple(policy.chat.render(row.item["messages"])))
        for row in read_rows(file, "validation_file")
    ]


def curve(policy: Policy, steps: dict[str, str], mean: Callable[[], float], *, threshold: float) -> dict[int, float]:
    """Means by step; nothing is measured between the first step that reaches the threshold and the last."""
    scores = {0: mean()}
    ordered = sorted((int(step), Path(folder)) for step, folder in steps.items())
    for step, folder in ordered:
        if max(list(scores.values())[1:], default=0.0) >= threshold and step != ordered[-1][0]:
            continue
        policy.set_adapter_tensors(read_tensors(folder))
        scores[step] = mean()
    return scores


def mean_reward(
    policy: Policy, rows: list[Row], graders: InProcessGraderRunner, params: SamplingParams, *, samples: int
) -> float:
    """Mean reward of `samples` answers to each row: pass@1 at temperature 1 with a grader of 0 and 1."""
    groups = answer(
        rows,
        range(samples),
        purpose="report",
        step=0,
        epoch=0.0,
        seed=SEED,
        policy=policy,
        sampler=TorchSampler(policy),
        graders=graders,
        params=params,
        processes=Processes(),
    )
    rewards = [rollout.reward for group in groups for rollout in group]
    if None in rewards:
        raise SystemExit("a grade failed, so the mean would not be over all answers")
    return sum(rewards) / len(rewards)


if __name__ == "__main__":
    main()
