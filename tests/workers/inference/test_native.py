"""The native decoder beside transformers and PEFT: same tokens, logits and gradients."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from fettle_workers.contract.catalogue import BUNDLED
from fettle_workers.engine.generic.network import GenericNetwork
from fettle_workers.engine.learner import Learner
from fettle_workers.engine.logprob import microbatches
from fettle_workers.engine.lora import LoraSettings, write_adapter
from fettle_workers.engine.loss import Loss
from fettle_workers.engine.model import Policy, load_policy
from fettle_workers.engine.native import network as native
from fettle_workers.engine.native.budget import MOST_TOKENS, Budget, kept_bytes, make_budget
from fettle_workers.engine.native.network import NativeNetwork
from fettle_workers.engine.native.packing import pack
from fettle_workers.engine.sampler import Decoder, Request, Row, SamplingParams, TorchSampler
from fettle_workers.engine.sequences import TokenSequence

LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 32}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32}
FAMILIES = {
    "llama": ("llama", {}),
    "llama with biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama with llama3 rotation": ("llama", {"rope_parameters": LLAMA3}),
    "llama with linear rotation": ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0}}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {}),
    "qwen3, tied": ("qwen3", {"tie_word_embeddings": True}),
    "qwen3 with yarn": ("qwen3", {"rope_parameters": YARN}),
    "mistral": ("mistral", {"sliding_window": None}),
}
PROMPTS = [(72, 101, 108), (257, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76), (90,), (5, 6, 7, 8, 9, 10)]


class Pair:
    """A policy of ours, and the same base and adapter in plain transformers and PEFT."""

    def __init__(self, folder: Path, adapter: Path, wake) -> None:
        self.policy = load_policy(folder, base_model_id="small", lora_rank=4)
        assert isinstance(self.policy.network, NativeNetwork)
        self.folder = folder
        wake(self.policy)
        self.policy.save_adapter(adapter)
        self.plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.tuned = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), adapter, is_trainable=True
        ).eval()


@pytest.fixture(scope="module")
def pair_of(save_small_model, wake, tmp_path_factory):
    made: dict[str, Pair] = {}

    def pair(name: str) -> Pair:
        if name not in made:
            folder = tmp_path_factory.mktemp("family")
            if name == BUNDLED:
                import fettle_workers.base_models

                model = Path(fettle_workers.base_models.__file__).parent / BUNDLED
            else:
                architecture, overrides = FAMILIES[name]
                model = save_small_model(folder / "model", architecture, **overrides)
            made[name] = Pair(model, folder / "adapter", wake)
        return made[name]

    return pair


def padded(sequences, side: str):
    length = max(map(len, sequences))
    ids, mask = torch.full((len(sequences), length), 3), torch.zeros(len(sequences), length, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        where = slice(length - len(sequence), None) if side == "left" else slice(len(sequence))
        ids[row, where], mask[row, where] = torch.tensor(sequence), 1
    return ids, mask


@pytest.mark.parametrize("name", [*FAMILIES, BUNDLED])
@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_logits_are_those_of_transformers_with_and_without_adapter(pair_of, name, side):
    pair = pair_of(name)  # logits of up to 30: sums that different processors round differently, by more than 1e-5
    ids, mask = padded(PROMPTS, side)
    for row, prompt in enumerate(PROMPTS):
        alone, real = torch.tensor([prompt]), mask[row].bool()
        found = pair.policy.logits(ids, mask)[row][real]
        torch.testing.assert_close(found, pair.tuned(alone).logits[0], atol=2e-5, rtol=1e-5)
        with pair.policy.reference():
            torch.testing.assert_close(
                pair.policy.logits(ids, mask)[row][real], pair.plain(alone).logits[0], atol=2e-5, rtol=1e-5
            )


@pytest.mark.parametrize("name", [*FAMILIES, BUNDLED])
def test_greedy_tokens_are_those_of_transformers(pair_of, name):
    pair = pair_of(name)
    requests = [Request(prompt, seeds=(0,)) for prompt in PROMPTS]
    params = SamplingParams(max_new_tokens=40, temperature=0.0, stop_ids=frozenset())
    found = {completion.request_index: completion for completion in TorchSampler(pair.policy).sample(requests, params)}
    for index, prompt in enumerate(PROMPTS):
        ids = torch.tensor([prompt])
        with torch.no_grad():
            for _ in range(40):
                ids = torch.cat([ids, pair.tuned(ids).logits[:, -1:].argmax(-1)], 1)
        assert list(found[index].ids) == ids[0, len(prompt) :].tolist()


def groups() -> list[TokenSequence]:
    """Three prompts, five completions of different length each, two of them equal and one the start of another; and a
    conversation with two turns in the loss."""
    numbers = torch.Generator().manual_seed(4)
    draw = lambda n: tuple(torch.randint(0, 256, (n,), generator=numbers).tolist())  # noqa: E731
    made = []
    for size in (9, 4, 23):
        prompt, long = draw(size), draw(19)
        completions = [long, long, long[:7], draw(3), draw(1)]
        made += [TokenSequence.completion(prompt, completion) for completion in completions]
    return [*made, TokenSequence(draw(12), tuple(index in (3, 4, 8) for index in range(12)))]


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "mistral", "llama with biases", BUNDLED])
@pytest.mark.parametrize("merged_weights", [0, 10**8])  # the adapter beside the base, or merged with it
@pytest.mark.parametrize("budget", [64, 4096])
def test_packed_gradients_are_those_of_the_padded_form(pair_of, name, merged_weights, budget, monkeypatch):
    pair, sequences = pair_of(name), groups()
    weights = [0.1 * (1 + i % 5) * (-1) ** i for i in range(len(sequences))]
    # The naive form: one padded batch through transformers and PEFT, all logits, one division.
    ids, mask = padded([sequence.ids for sequence in sequences], "right")
    logprobs = pair.tuned(input_ids=ids, attention_mask=mask).logits[:, :-1].log_softmax(-1)
    chosen = logprobs.gather(2, ids[:, 1:, None])[..., 0]
    in_loss = torch.zeros_like(mask, dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        in_loss[row, : len(sequence.ids)] = torch.tensor(sequence.in_loss)
    total = -(torch.tensor(weights)[:, None] * chosen)[in_loss[:, 1:]].sum()
    named = {n.replace(".default", ""): p for n, p in pair.tuned.named_parameters() if p.requires_grad}
    expected = dict(zip(named, torch.autograd.grad(total / in_loss.sum(), list(named.values())), strict=True))

    monkeypatch.setattr(native, "MERGED_WEIGHTS", merged_weights)
    monkeypatch.setitem(MOST_TOKENS, "cpu", budget)

    def loss(batch, scores):
        of_token = torch.tensor([weights[member] for member in batch.members])[batch.sequences_N]
        sums = {"tokens": torch.tensor(float(len(of_token)))}
        return Loss(-(of_token * scores.logprobs_N).sum(), torch.tensor(len(of_token)), sums)

    assert len(list(microbatches(pair.policy, sequences))) == (1 if budget == 4096 else 4)
    found = Learner(pair.policy).accumulate(sequences, loss, temperature=1.0)
    assert found.num_tokens == int(in_loss.sum())
    assert sum(float(gradient.abs().max()) > 1e-3 for gradient in expected.values()) > len(expected) / 2
    for parameter_name, parameter in pair.policy.parameters().items():
        torch.testing.assert_close(parameter.grad, expected[parameter_name], atol=1e-5, rtol=1e-4)


def test_a_prompt_and_a_common_beginning_are_packed_once():
    prompt = (1, 2, 3)
    packed = pack([TokenSequence.completion(prompt, ids) for ids in ((4, 5), (4, 5), (4, 6, 7), (8,))], "cpu")
    # The prompt, then (4, 6): what predicts 5, 6 and 7. Nothing is predicted from a last token.
    assert packed.ids_T.tolist() == [1, 2, 3, 4, 6]
    assert packed.positions_T.tolist() == [0, 1, 2, 3, 4]
    assert packed.predicts_N.tolist() == [2, 3, 2, 3, 2, 3, 4, 2]


def test_microbatches_keep_to_their_budget_and_lose_nothing(policy_of, monkeypatch):
    policy, sequences = policy_of("llama"), groups()
    monkeypatch.setitem(MOST_TOKENS, "cpu", 30)
    batches = list(microbatches(policy, sequences))
    assert sorted(member for batch in batches for member in batch.members) == list(range(len(sequences)))
    assert all(len(batch.inputs.ids_T) <= 30 or len(batch.members) == 1 for batch in batches)
    for batch in batches:
        targets = [
            sequences[m].ids[i] for m in batch.members for i, wanted in enumerate(sequences[m].in_loss) if wanted
        ]
        assert batch.targets_N.tolist() == targets


@pytest.mark.parametrize(
    ("architecture", "overrides"),
    [
        ("gemma2", {}),
        ("mistral", {"sliding_window": 8}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}),
        ("llama", {"hidden_act": "gelu"}),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}}),
    ],
)
def test_what_the_native_decoder_does_not_compute_goes_through_transformers(
    save_small_model, architecture, overrides, tmp_path
):
    folder = save_small_model(tmp_path / "model", architecture, **overrides)
    assert isinstance(load_policy(folder, base_model_id="small").network, GenericNetwork)


def test_base_digest_is_that_of_transformers(policy_of, monkeypatch):
    native_digest = policy_of("qwen2").base_digest
    monkeypatch.setattr("fettle_workers.engine.model.load_native", lambda *args, **kwargs: None)
    generic = policy_of("qwen2")
    assert isinstance(generic.network, GenericNetwork)
    assert generic.base_digest == native_digest


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_a_thousand_publishes_leave_the_base_as_it_was_and_memory_flat(policy_of):
    """Each merges a new adapter into a copy of the base and reads a token with it; nothing is ever unmerged."""
    policy: Policy = policy_of("qwen3")
    digest, generator = policy.base_digest, torch.Generator().manual_seed(0)
    parameters = list(policy.parameters().values())

    def publish(times: int) -> None:
        for _ in range(times):
            with torch.no_grad():
                for parameter in parameters:
                    parameter.normal_(0, 0.1, generator=generator)
            decoder = Decoder(policy)
            decoder.admit([Row((65, 66), 1, SamplingParams(2))])
            decoder.step()

    publish(100)
    gc.collect()
    before = resident_bytes()
    publish(900)
    gc.collect()
    assert resident_bytes() - before < 4 * 2**20
    del policy.__dict__["base_digest"]
    assert policy.base_digest == digest


@pytest.mark.parametrize("merged_weights", [0, 10**8])
def test_an_adapter_on_some_layers_says_the_same_in_plain_peft(pair_of, tmp_path, merged_weights, monkeypatch):
    monkeypatch.setattr(native, "MERGED_WEIGHTS", merged_weights)
    pair = pair_of("llama with biases")
    settings = LoraSettings(rank=4, alpha=8, target_modules=("k_proj", "up_proj"), base_model_id="small")
    full = pair.policy.adapter_tensors()
    some = {name: tensor for name, tensor in full.items() if "k_proj" in name or "up_proj" in name}
    write_adapter(tmp_path / "adapter", settings, some)
    policy = load_policy(pair.folder, base_model_id="small", adapter=tmp_path / "adapter")
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(pair.folder), tmp_path / "adapter").eval()
    ids = torch.tensor([PROMPTS[1]])
    found = policy.logits(ids, torch.ones_like(ids))
    torch.testing.assert_close(found, plain(ids).logits, atol=1e-5, rtol=1e-5)
    assert (found - pair.plain(ids).logits).abs().max() > 0.01
    found.sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in policy.parameters().values())


@pytest.mark.parametrize("memory_bytes", [2**34, 4 * 2**20])
def test_blocks_run_again_only_when_a_sequence_does_not_fit(policy_of, wake, memory_bytes, monkeypatch):
    policy = policy_of("qwen3")
    wake(policy)
    long = TokenSequence.completion((1,) * 10, tuple(i % 256 for i in range(400)))

    def gradients_and_kept():
        [batch] = microbatches(policy, [long])
        kept = kept_bytes(lambda: policy.network.loss_hidden(batch), unless=set)
        policy.network.loss_hidden(batch).sum().backward()
        found = {name: parameter.grad for name, parameter in policy.parameters().items()}
        for parameter in policy.parameters().values():
            parameter.grad = None
        return batch.inputs.recomputes, found, kept

    plain_recomputes, expected, plain_kept = gradients_and_kept()
    assert not plain_recomputes
    monkeypatch.setattr(native, "memory_bytes", lambda device: memory_bytes)
    recomputes, found, kept = gradients_and_kept()
    assert recomputes == (memory_bytes < 2**30)
    assert kept < plain_kept / 4 if recomputes else kept == plain_kept
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-6, rtol=1e-5)


def test_the_budget_is_the_measured_bytes_per_token(policy_of):
    """2000 bytes a token and half of 3 MB to spare is 750 tokens; 800 are too many for one pass."""
    assert make_budget(2000, longest=700, memory_bytes=3_000_000, device_type="cpu") == Budget(750, recomputes=False)
    assert make_budget(2000, longest=800, memory_bytes=3_000_000, device_type="cpu") == Budget(750, recomputes=True)
    policy = policy_of("llama")
    [batch] = microbatches(policy, [TokenSequence.completion((1,) * 100, tuple(range(200)))])
    weights = {tensor.untyped_storage().data_ptr() for _, tensor in policy.network.base_tensors()}
    weights |= {parameter.untyped_storage().data_ptr() for parameter in policy.parameters().values()}
    kept = kept_bytes(lambda: policy.network.loss_hidden(batch), unless=lambda: weights) / len(batch.inputs.ids_T)
    assert policy.network._token_bytes(300) == pytest.approx(kept, rel=0.3)


def test_a_native_policy_needs_neither_peft_nor_the_model_code_of_transformers(model_folder, tmp_path):
    """They take seconds to import, which every job would wait for."""
    program = (
        "import sys; from pathlib import Path\n"
        "from fettle_workers.engine.model import load_policy\n"
        "from fettle_workers.engine.train import train\n"
        f"policy = load_policy(Path({str(model_folder('qwen3'))!r}), base_model_id='small')\n"
        f"policy.save_adapter(Path({str(tmp_path / 'adapter')!r}))\n"
        "print(sorted({'peft', 'transformers.modeling_utils'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"
