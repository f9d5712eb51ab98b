"""Where a base stands: whole in every process, or a part of it in each; by the numbers."""

from __future__ import annotations

import pytest
import torch

from fettle_workers.engine.model import load_policy
from fettle_workers.engine.network import ModelError
from fettle_workers.engine.placement import ALONE, BaseSize, choose_placement
from fettle_workers.engine.processes import Processes

GIB = 2**30
# 32 blocks of 1 GiB and 2 GiB besides: 34 whole; half of the blocks, two whole ones and the rest: 20.
BASE = BaseSize(32 * GIB, 2 * GIB, num_blocks=32)


class Two(Processes):
    """Stands for two processes whose devices have that much memory."""

    def __init__(self, *memories: int) -> None:
        super().__init__()
        self.size, self.memories = len(memories), memories

    def gather(self, work):
        return [memory * GIB for memory in self.memories]


def place(asked, *memories, **options):
    device = torch.device(options.pop("device", "cuda"))
    return choose_placement(asked, Two(*memories), BASE, device, **options)


@pytest.mark.parametrize(
    ("memories", "parallelism"), [((80, 80), "ddp"), ((80, 68), "ddp"), ((80, 67), "fsdp"), ((40, 40), "fsdp")]
)
def test_the_base_is_spread_where_it_does_not_fit_the_smallest_device_beside_what_learning_takes(memories, parallelism):
    chosen = place("auto", *memories)
    assert chosen.parallelism == parallelism
    assert chosen.why.startswith(
        f"the base takes 34 GiB, and learning leaves {min(memories) / 2:.3g} GiB of {min(memories)} GiB"
    )
    assert chosen.entries()["parallelism_reason"] == chosen.why
    assert ("spread, each holds 20 GiB" in chosen.why) == (parallelism == "fsdp")


def test_processes_on_one_cpu_share_its_memory():
    assert place("auto", 136, 136, device="cpu").parallelism == "ddp"
    assert place("auto", 135, 135, device="cpu").parallelism == "fsdp"


def test_a_base_that_no_part_of_fits_is_refused_before_it_is_loaded():
    with pytest.raises(ModelError, match=r"Spread over 2 processes each would hold 20 GiB: use more GPUs"):
        place("auto", 39, 39)
    assert place("fsdp", 39, 39).why == place("ddp", 39, 39).why == "FETTLE_TRAINER_PARALLELISM asks for it"


def test_a_single_process_has_nothing_to_spread():
    assert choose_placement("fsdp", Processes(), BASE, torch.device("cpu")) is ALONE
    assert ALONE.entries() == {}


def test_what_transformers_computes_is_not_spread_and_says_so(model_folder, monkeypatch):
    assert place("auto", 80, 80, can_shard=False).parallelism == "ddp"
    for asked, memory in (("fsdp", 80), ("auto", 40)):
        with pytest.raises(ModelError, match=r"computed by transformers, .* does not spread"):
            place(asked, memory, memory, can_shard=False)
    monkeypatch.setattr("fettle_workers.engine.model.load_native", lambda source, **options: None)
    with pytest.raises(ModelError, match=r"the base takes .* computed by transformers"):
        load_policy(model_folder, base_model_id="random", processes=Two(1, 1), parallelism="fsdp")
