"""Two processes that train together end where one does. Run as a program, this file is one of the two."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch import distributed

from fettle_graders.grade import Grade, GradeErrors
from fettle_workers.adapters.checkpoints import LocalCheckpoints
from fettle_workers.contract.preflight import PreflightSettings
from fettle_workers.contract.spec import (
    ReinforcementHyperparameters,
    ReinforcementMethod,
    SupervisedHyperparameters,
    SupervisedMethod,
    TrainSpec,
)
from fettle_workers.engine.data import load_rows
from fettle_workers.engine.errors import JobFailed
from fettle_workers.engine.learner import Learner
from fettle_workers.engine.logprob import mean_kl
from fettle_workers.engine.loss import policy_gradient_loss
from fettle_workers.engine.model import Policy, load_policy, use_threads
from fettle_workers.engine.native import network as native
from fettle_workers.engine.native.shards import _tensors
from fettle_workers.engine.preflight import preflight
from fettle_workers.engine.processes import Processes, ProcessesDrifted, Turn
from fettle_workers.engine.sampler import Request, SamplingParams, TorchSampler
from fettle_workers.engine.sequences import TokenSequence
from fettle_workers.engine.start import start_reinforcement
from fettle_workers.engine.supervised import start_supervised, train_supervised

# Stands in a spec; nobody asks it: the runner grades.
LETTERS = {"type": "string_check", "name": "g", "operation": "eq", "input": "{{sample.output_text}}", "reference": "a"}
# Two blocks: 64 x 32 and 32 x 32 (attention), 128 x 32 and 32 x 64 (MLP), norms of 32, 32 and 6 x 8; in fp32.
WHOLE_BYTES = 2 * 4 * (64 * 32 + 32 * 32 + 128 * 32 + 32 * 64 + 32 + 32 + 6 * 8)
FEW = SamplingParams(max_new_tokens=12)
ADVANTAGES = [1.0, -0.5, 2.0, -1.5, 0.25]


def sequences() -> list[TokenSequence]:
    numbers = torch.Generator().manual_seed(3)
    draw = lambda n: torch.randint(0, 256, (n,), generator=numbers).tolist()  # noqa: E731
    return [TokenSequence.completion(draw(4), draw(3 + 2 * index)) for index in range(len(ADVANTAGES))]


def loss(batch, scores):
    advantages_N = torch.tensor([ADVANTAGES[member] for member in batch.members])[batch.sequences_N]
    return policy_gradient_loss(
        scores.logprobs_N,
        scores.logprobs_N.detach(),
        advantages_N,
        batch.sequences_N,
        num_sequences=len(batch.members),
    )


def train(model: Path, processes: Processes, **options):
    """Three updates: the adapter, the first step's gradient, the last's counts."""
    policy = load_policy(model, base_model_id="random", lora_rank=4, seed=1, **options)
    return train_policy(policy, Learner(policy, processes))


def train_policy(policy: Policy, learner: Learner):
    gradients = []
    for _ in range(3):
        found = learner.accumulate(sequences(), loss, temperature=1.0)
        gradients.append({name: parameter.grad.clone() for name, parameter in policy.parameters().items()})
        learner.update(lr=1e-2, grad_norm=found.norm)
    return policy.adapter_tensors(), gradients[0], found


def raised(work):
    try:
        work()
    except Exception as error:
        return type(error).__name__, str(error), getattr(error, "param", None)


def talk(processes: Processes):
    """What each way of talking gives in this process."""
    rank = processes.rank

    def fail():
        if rank == 1:
            raise JobFailed("out_of_memory", "no room", param="model")

    return {
        "gather": processes.gather(lambda: rank + 10),
        "agree": processes.agree(lambda: rank + 10),
        "decide": processes.decide(lambda: rank + 10),
        "share": processes.share([5, 1, 1, 1, 2]),
        "split": processes.split([1, 2, 3], lambda mine: [(rank, number) for number in mine]),
        "one for two": processes.split([1], lambda mine: [(rank, number) for number in mine]),
        "an error in one": raised(lambda: processes.gather(fail)),
        "the same": raised(lambda: processes.check_same(lambda: "a")),
        "drifted": raised(lambda: processes.check_same(lambda: f"{rank}")),
    }


class Quiet:
    """Takes events and has no commands."""

    def emit(self, event) -> None:
        pass

    def poll(self) -> None:
        return None


class Letters:
    """A grader's runner: how much of the answer is lower-case letters."""

    needs_group = False

    def submit(self, item, samples):
        shares = [sum("a" <= char <= "z" for char in s.output_text) / max(1, len(s.output_text)) for s in samples]
        return lambda: [Grade(share, GradeErrors()) for share in shares]


def tune_and_look(model: Path, work: Path, processes: Processes, parallelism="auto"):
    """A supervised job of two steps, and a preflight: what they find, without clock times."""
    options = {"processes": processes, "parallelism": parallelism}
    policy = load_policy(model, base_model_id="random", lora_rank=4, seed=1, **options)
    common = {"policy": policy, "checkpoints": LocalCheckpoints(work), "events": Quiet(), "control": Quiet()}
    common |= {"resume_from": None, "processes": processes}
    spec = TrainSpec.model_validate_json((work / "supervised.json").read_text())
    job, data = start_supervised(spec, load_rows(spec, work / "inputs"), **common)
    tuned = train_supervised(job, data, TorchSampler(policy)).selection.table
    policy.set_adapter_tensors({name: tensor * 0 for name, tensor in policy.adapter_tensors().items()})
    spec = TrainSpec.model_validate_json((work / "preflight.json").read_text())
    raw = load_rows(spec, work / "inputs")
    job, source = start_reinforcement(spec, raw, sampler=TorchSampler(policy), graders=Letters(), **common)
    report = preflight(job, source, PreflightSettings(num_rows=3, samples_per_row=4)).report
    return [one.item_means for one in tuned.candidates], (report.rows, report.pass_at, report.num_answers)


def spread(model: Path, folder: Path) -> dict[str, dict]:
    """The same with a whole base in each process and with one that is spread over both, which is never merged."""
    native.MERGED_WEIGHTS = 0
    found = {}
    for parallelism in ("ddp", "fsdp"):
        processes = Processes(distributed.group.WORLD)
        options = {"processes": processes, "parallelism": parallelism}
        policy = load_policy(model, base_model_id="random", lora_rank=4, seed=1, **options)
        found[parallelism] = uneven(policy, processes) | {"plan": policy.placement.entries()}
        weights = policy.network.weights
        held = [tensor for layer in weights.layers for tensor in _tensors(layer).values()]
        found[parallelism]["bytes"] = sum(map(nbytes, held)), weights.shards and weights.shards.num_bytes
        processes = Processes(distributed.group.WORLD)
        found[parallelism]["jobs"] = tune_and_look(model, folder / parallelism, processes, parallelism)
    wanted = Turn.READ if processes.rank else Turn.FORWARD
    found["fsdp"]["drifted"] = raised(lambda: processes.begin(wanted))
    return found


def nbytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.itemsize


def uneven(policy: Policy, processes: Processes) -> dict:
    """Work of which one process has more than the other, or all."""
    learner, sampler = Learner(policy, processes), TorchSampler(policy)
    requests = [Request((1, 2, 3), (5, 6, 7)), Request((4, 5), (8,)), Request((9,), (1, 2))]

    def draw(mine):
        return sorted((one.request_index, one.sample_index, one.ids, one.logprobs) for one in sampler.sample(mine, FEW))

    def fail_after_work():
        if processes.rank:
            draw(requests[:1])
            raise JobFailed("out_of_memory", "no room")

    trained = train_policy(policy, learner)
    return {
        "trained": trained,
        "measured bytes per token": policy.network._token_bytes(300),  # of what passes keep; no weights are in it
        "fewer": processes.gather(lambda: draw(requests[processes.share([3, 1, 2])])),
        "nothing for one": processes.gather(lambda: draw(requests) if processes.rank else None),
        "only the first": processes.decide(lambda: draw(requests)),
        "an error in one": raised(lambda: processes.gather(fail_after_work)),
        "kl of one": mean_kl(policy, sequences()[:1], processes),
        "gradient of one": learner.accumulate(sequences()[:1], loss, temperature=1.0),
        "digest": processes.gather(lambda: policy.base_digest if processes.rank else ""),
    }


def worker(rank: int, model: Path, folder: Path) -> None:
    use_threads(1)
    limit = timedelta(seconds=100)  # who waits for a pass that does not come ends
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=2, timeout=limit
    )
    processes = Processes(distributed.group.WORLD)
    found = talk(processes), train(model, processes), tune_and_look(model, folder / "two", processes)
    torch.save((*found, spread(model, folder)), folder / f"{rank}.pt")
    distributed.destroy_process_group()


def write_jobs(work: Path, write_rows, simple_rows) -> None:
    """The specs of `tune_and_look`, and their rows."""
    said = [row["messages"] + [{"role": "assistant", "content": "abca"}] for row in simple_rows(14)]
    spoken = [{"messages": messages} for messages in said]
    methods = {
        "supervised": SupervisedMethod(hyperparameters=SupervisedHyperparameters(max_steps=2, eval_interval=1)),
        "preflight": ReinforcementMethod(
            grader=LETTERS,
            hyperparameters=ReinforcementHyperparameters(max_completion_tokens=8, group_size=4, eval_samples=1),
        ),
    }
    for name, method in methods.items():
        rows = (spoken[:9], spoken[9:]) if name == "supervised" else (simple_rows(5), simple_rows(5, 100))
        files = {"training_file": write_rows(work, rows[0]), "validation_file": write_rows(work, rows[1])}
        spec = TrainSpec(job_id="job", base_model="random", method=method, seed=3, **files)
        (work / f"{name}.json").write_text(spec.model_dump_json())


def test_two_processes_end_where_one_does(model_folder, tmp_path, write_rows, simple_rows):
    for folder in ("one", "two", "ddp", "fsdp"):
        write_jobs(tmp_path / folder, write_rows, simple_rows)
    commands = [[sys.executable, __file__, str(rank), str(model_folder), str(tmp_path)] for rank in (0, 1)]
    processes = [subprocess.Popen(command) for command in commands]
    try:
        expected, gradient, counted = train(model_folder, Processes())
        tuned, looked = tune_and_look(model_folder, tmp_path / "one", Processes())
        assert [process.wait(timeout=200) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    saved = [torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in (0, 1)]
    results = [trained for _, trained, _, _ in saved]
    for name, tensor in expected.items():
        assert torch.equal(results[0][0][name], results[1][0][name])
        # Adam divides by the gradient's size, so what sums in another order round differently shows where it is tiny.
        torch.testing.assert_close(results[0][0][name], tensor, atol=2e-4, rtol=1e-3)
        for rank in (0, 1):
            torch.testing.assert_close(results[rank][1][name], gradient[name], atol=5e-6, rtol=1e-5)
    for _, _, found in results:
        assert found.num_tokens == counted.num_tokens == 35
        assert abs(found.loss - counted.loss) < 1e-6
        assert found.sums.keys() == counted.sums.keys()
        assert abs(found.norm - counted.norm) < 1e-5
    for _, _, (tuned_in_two, looked_in_two), _ in saved:
        assert looked_in_two == looked
        for found, wanted in zip(tuned_in_two, tuned, strict=True):
            assert found == pytest.approx(wanted, abs=1e-4)
    for rank, (said, *_) in enumerate(saved):
        assert said == {
            "gather": [10, 11],
            "agree": 10,
            "decide": 10,
            "share": slice(0, 1) if rank == 0 else slice(1, 5),  # 5 of 10, and 1 + 1 + 1 + 2
            "split": [(0, 1), (1, 2), (1, 3)],
            "one for two": [(1, 1)],
            "an error in one": ("JobFailed", "no room", "model"),
            "the same": None,
            "drifted": (ProcessesDrifted.__name__, "2 processes that train one job hold 2 different states", None),
        }
    digest = load_policy(model_folder, base_model_id="random").base_digest
    check_spread([found for *_, found in saved], digest)


def check_spread(found: list[dict[str, dict]], digest: str) -> None:
    """A spread base gives what a whole one does, bit by bit, in both processes; each of them holds half of it."""
    for one in found:
        whole, part = one["ddp"], one["fsdp"]
        assert whole.pop("bytes") == (WHOLE_BYTES, None)
        assert part.pop("bytes") == (WHOLE_BYTES, WHOLE_BYTES // 2)
        said = part.pop("drifted")
        assert said[1] == "of 2 processes that make every pass together, some want FORWARD and READ"
        assert (whole.pop("plan")["parallelism"], part.pop("plan")["parallelism"]) == ("ddp", "fsdp")
        assert whole["digest"] == ["", digest]
        assert whole["an error in one"] == ("JobFailed", "no room", None)
        assert len(whole["only the first"]) == 6
        adapter, gradient, _ = whole.pop("trained")
        for name, tensor in part["trained"][0].items():
            assert torch.equal(tensor, adapter[name])
            assert torch.equal(part["trained"][1][name], gradient[name])
        del part["trained"]
        assert part == whole
    assert found[0]["fsdp"] == found[1]["fsdp"]


if __name__ == "__main__":
    worker(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
