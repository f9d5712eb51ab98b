"""Two processes that train together end where one does. Run as a program, this file is one of the two."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from torch import distributed

from fettle_workers.engine.learner import Learner
from fettle_workers.engine.loss import policy_gradient_loss
from fettle_workers.engine.model import load_policy, use_threads
from fettle_workers.engine.sequences import TokenSequence

ADVANTAGES = [1.0, -0.5, 2.0, -1.5, 0.25]
SHARES = [[0, 1, 2, 3], [4]]


def sequences() -> list[TokenSequence]:
    numbers = torch.Generator().manual_seed(3)
    draw = lambda n: torch.randint(0, 256, (n,), generator=numbers).tolist()  # noqa: E731
    return [TokenSequence.completion(draw(4), draw(3 + 2 * index)) for index in range(len(ADVANTAGES))]


def train(model: Path, mine: list[int], group=None):
    """Three updates on the given sequences: the adapter, the first step's gradient, the last's counts."""
    policy = load_policy(model, base_model_id="random", lora_rank=4, seed=1)
    learner, everything = Learner(policy, group=group), sequences()

    def loss(batch, scores):
        advantages_N = torch.tensor([ADVANTAGES[mine[member]] for member in batch.members])[batch.sequences_N]
        return policy_gradient_loss(
            scores.logprobs_N,
            scores.logprobs_N.detach(),
            advantages_N,
            batch.sequences_N,
            num_sequences=len(batch.members),
        )

    gradients = []
    for _ in range(3):
        found = learner.accumulate([everything[number] for number in mine], loss, temperature=1.0)
        gradients.append({name: parameter.grad.clone() for name, parameter in policy.parameters().items()})
        learner.update(lr=1e-2, grad_norm=found.norm)
    return policy.adapter_tensors(), gradients[0], found


def worker(rank: int, model: Path, folder: Path) -> None:
    use_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=len(SHARES))
    torch.save(train(model, SHARES[rank], distributed.group.WORLD), folder / f"{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_end_where_one_does(model_folder, tmp_path):
    """Shares of unequal size: a mean over processes instead of tokens would differ."""
    commands = [[sys.executable, __file__, str(rank), str(model_folder), str(tmp_path)] for rank in (0, 1)]
    processes = [subprocess.Popen(command) for command in commands]
    try:
        expected, gradient, counted = train(model_folder, [0, 1, 2, 3, 4])
        assert [process.wait(timeout=200) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    results = [torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in (0, 1)]
    for name, tensor in expected.items():
        assert torch.equal(results[0][0][name], results[1][0][name])
        # Adam divides by the gradient's size, so what sums in another order round differently shows where it is tiny.
        torch.testing.assert_close(results[0][0][name], tensor, atol=2e-4, rtol=1e-3)
        for rank in (0, 1):
            torch.testing.assert_close(results[rank][1][name], gradient[name], atol=1e-6, rtol=1e-5)
    for _, _, found in results:
        assert found.num_tokens == counted.num_tokens == 35
        assert abs(found.loss - counted.loss) < 1e-6
        assert found.sums.keys() == counted.sums.keys()
        assert abs(found.norm - counted.norm) < 1e-5


if __name__ == "__main__":
    worker(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
