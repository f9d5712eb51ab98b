"""The GPU benchmark: its arithmetic, and that it runs, in small and on a CPU."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fettle_workers.engine.native.architecture import Architecture

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu
    import roofline

    return gpu, roofline


def small(roofline):
    """Linear layers 2x2 four times and 2x3 three times: 34 weights; head 2x5; adapter of rank 1: 4 * 4 + 3 * 5."""
    return roofline.Sizes(
        num_layers=1, hidden=2, inner=3, num_heads=1, num_kv_heads=1, head_dim=2, vocabulary=5, rank=1
    )


def test_a_decode_step_reads_every_weight_once_and_every_key_and_value(benchmark):
    _, roofline = benchmark
    sizes = small(roofline)
    assert (sizes.block_weights, sizes.head_weights, sizes.adapter_weights) == (34, 10, 31)
    cached = 2 * 3 * 2 * 2  # rows, tokens, keys and values, head size
    assert roofline.decode_bytes(sizes, batch=2, context=3, item_bytes=2) == 2 * (34 + 10 + cached) + 4 * 31 == 260
    peaks = roofline.Peaks(bytes_per_s=100, flops_per_s=1000)
    assert peaks.decode_share(260, 5.2) == pytest.approx(0.5)  # 2.6 s of reading in a step of 5.2 s


def test_a_learner_computes_a_prompt_once_and_no_gradient_of_the_base(benchmark):
    _, roofline = benchmark
    # Prompt of 2, completions of 2 and 3, of which 1 and 2 are read: 5 tokens, which see 1 + 2, 3, and 3 + 4.
    linear, attention, head = 5 * (4 * 34 + 6 * 31), 12 * 2 * 13, 5 * 4 * 10
    flops = roofline.learn_flops(small(roofline), 2, [2, 3])
    assert flops == linear + attention + head == 2122
    assert roofline.Peaks(bytes_per_s=100, flops_per_s=1000).mfu(flops, 4.244) == pytest.approx(0.5)


@pytest.mark.parametrize("shape", ["tiny", "0.6B", "4B", "8B"])
def test_the_weights_counted_are_those_of_the_decoder(benchmark, shape):
    gpu, roofline = benchmark
    config = gpu.model_config(shape)
    tensors = Architecture.of(config).shapes()
    linear = sum(a * b for name, (a, *rest) in tensors.items() for b in rest if "layers" in name)
    sizes = roofline.Sizes.of(config, rank=gpu.RANK)
    assert sizes.block_weights == linear
    assert (sizes.vocabulary, sizes.hidden) == tensors["model.embed_tokens.weight"]


def test_the_report_has_shares_of_measured_peaks_and_says_why_a_side_has_no_figure(benchmark):
    gpu, roofline = benchmark
    options = argparse.Namespace(batch=256, new_tokens=257, prompt_tokens=128, group=16, dtype="bfloat16")
    sizes = roofline.Sizes.of(gpu.model_config("0.6B"), rank=16)
    needed = roofline.decode_bytes(sizes, batch=256, context=128 + 257 / 2, item_bytes=2)
    flops = 16 * roofline.learn_flops(sizes, 128, [257] * 16)
    measured = {"tokens": 65792, "first_s": 1.0, "sampling_s": 257.0, "learning_s": 100.0, "update_s": 4.0}
    # 256 steps in 256 s, of which the bytes take half a second each; the operations take a quarter of the 100 s.
    peaks = {"bytes_per_s": 2 * needed, "flops_per_s": flops / 25}
    ours = {"side": "fettle", "versions": {"torch": "2"}, "device": "NVIDIA H200", "peaks": peaks}
    sides = [ours | measured | {"peak_bytes": 3 * 2**30}, {"side": "trl", "error": "No module named 'trl'"}]
    told = gpu.report({"0.6B": sides}, options)
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in told.splitlines() if line.startswith("|")]
    assert ["0.6B", "Fettle", "256", "1000.00", "50.0%", "3.00"] in cells
    assert ["0.6B", "TRL, generate", "No module named 'trl'", "", "", ""] in cells
    assert ["0.6B", "Fettle", "658", "25.0%"] in cells
    assert ["0.6B", "Fettle", "361.00", "71%", "28%", "1%", "182", "3.00"] in cells
    assert "data sheet: 4800 GB/s, 989 TFLOP/s dense bf16" in told


def test_it_runs_on_a_cpu_in_small():
    asked = ["--shape", "tiny", "--device", "cpu", "--batch", "8", "--prompt-tokens", "6", "--new-tokens", "5"]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "gpu.py"), *asked, "--sides", "fettle"],
        capture_output=True,
        text=True,
        timeout=200,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("| tiny")]
    sides = [(side.strip(), len(cells)) for _, side, *cells in rows]
    assert sides == [("Fettle", 4), ("Fettle", 2), ("Fettle", 6)], done.stderr
    assert all(float(cell.strip().rstrip("%")) >= 0 for _, _, *cells in rows for cell in cells)
