from __future__ import annotations

import json
import shutil

import pytest
import torch
from peft import PeftModel
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from fettle_workers.contract.catalogue import BaseModelEntry
from fettle_workers.engine.lora import AdapterError, adapter_digest
from fettle_workers.engine.model import ModelError, load_base, load_policy, resolve_source, use_threads

ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma2", "gemma3_text", "mamba")
IDS = torch.tensor([[257, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75]])
ALL = torch.ones_like(IDS)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_step_0_changes_nothing_and_every_adapter_tensor_learns(policy_of, model_folder, architecture):
    policy = policy_of(architecture)
    base = AutoModelForCausalLM.from_pretrained(model_folder(architecture)).eval()
    with torch.no_grad():
        torch.testing.assert_close(policy.logits(IDS, ALL), base(IDS).logits)
    policy.logits(IDS, ALL).log_softmax(-1)[0, -1, 65].backward()
    for name, parameter in policy.parameters().items():
        assert parameter.dtype == torch.float32
        # B is 0, so A has no slope yet; B has one wherever the adapter takes part in the forward pass at all.
        assert bool(parameter.grad.abs().max() > 0) == ("lora_B" in name), name
    assert all(not tensor.requires_grad for _, tensor in policy.network.base_tensors())


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "gemma2", "gemma3_text"])
def test_every_attention_and_mlp_linear_is_adapted(policy_of, architecture):
    wanted = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    policy = policy_of(architecture)
    assert set(policy.lora.target_modules) == wanted
    assert len(policy.parameters()) == 2 * 7 * 2  # layers, modules, A and B


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saved_adapter_says_the_same_in_plain_peft(policy_of, wake, model_folder, tmp_path, architecture):
    policy = policy_of(architecture)
    wake(policy)
    digest = policy.save_adapter(tmp_path / "adapter")
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert digest == adapter_digest(tmp_path / "adapter")
    plain = AutoModelForCausalLM.from_pretrained(model_folder(architecture))
    untouched = plain(IDS).logits
    tuned = PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()
    with torch.no_grad():
        found = policy.logits(IDS, ALL)
        torch.testing.assert_close(found, tuned(IDS).logits)
    assert (found - untouched).abs().max() > 0.01


def test_adapter_files_are_the_same_bytes_anywhere(policy_of, wake, tmp_path):
    digests = set()
    for name in ("here", "there"):
        policy = policy_of(seed=5)
        wake(policy)
        digests.add(policy.save_adapter(tmp_path / name))
    assert len(digests) == 1
    text = (tmp_path / "here" / "adapter_config.json").read_text()
    assert json.loads(text)["base_model_name_or_path"] == "small"
    assert str(tmp_path.parent) not in text
    assert policy_of(seed=6).save_adapter(tmp_path / "other") not in digests


def test_seed_decides_the_new_adapter_and_global_randomness_does_not(policy_of):
    first = policy_of(seed=1).adapter_tensors()
    torch.manual_seed(123)
    second, other = policy_of(seed=1).adapter_tensors(), policy_of(seed=2).adapter_tensors()
    assert list(first) == sorted(first)
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name])
        if "lora_A" in name:
            assert not torch.equal(tensor, other[name])
            assert tensor.abs().max() <= tensor.shape[1] ** -0.5
        else:
            assert not tensor.any()


def test_adapter_comes_back_from_its_folder(policy_of, wake, tmp_path):
    policy = policy_of(lora_rank=4)
    wake(policy)
    policy.save_adapter(tmp_path / "adapter")
    again = policy_of(adapter=tmp_path / "adapter")
    assert (again.lora.rank, again.lora.alpha) == (4, 32)
    torch.testing.assert_close(again.logits(IDS, ALL), policy.logits(IDS, ALL), rtol=0, atol=0)
    parameters = policy.parameters()
    wake(policy, seed=9)
    policy.load_adapter(tmp_path / "adapter")
    assert all(policy.parameters()[name] is parameter for name, parameter in parameters.items())
    torch.testing.assert_close(again.logits(IDS, ALL), policy.logits(IDS, ALL), rtol=0, atol=0)


def test_reference_is_the_base_even_when_nested_or_failing(policy_of, wake):
    policy = policy_of()
    base = policy.logits(IDS, ALL).detach()
    wake(policy)
    tuned = policy.logits(IDS, ALL).detach()
    with policy.reference(), policy.reference():
        torch.testing.assert_close(policy.logits(IDS, ALL), base)
    with pytest.raises(KeyError), policy.reference():
        raise KeyError
    torch.testing.assert_close(policy.logits(IDS, ALL).detach(), tuned, rtol=0, atol=0)
    assert (tuned - base).abs().max() > 0.01


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("side", ["left", "right", "both"])
def test_padding_changes_no_logit_of_a_token(policy_of, wake, architecture, side):
    policy = policy_of(architecture)
    wake(policy)
    left, right = {"left": (5, 0), "right": (0, 5), "both": (2, 3)}[side]
    short = IDS[:, :7]
    padded = torch.nn.functional.pad(short, (left, right), value=3)
    mask = torch.nn.functional.pad(torch.ones_like(short), (left, right))
    with torch.no_grad():
        alone = policy.logits(short, torch.ones_like(short))
        found = policy.logits(torch.cat([padded, IDS]), torch.cat([mask, ALL]))
    torch.testing.assert_close(found[:1, left : left + 7], alone, atol=2e-4, rtol=1e-4)


def test_bf16_base_keeps_adapter_and_head_in_fp32(policy_of, wake):
    policy = policy_of(dtype="bfloat16")
    wake(policy)
    assert {parameter.dtype for parameter in policy.parameters().values()} == {torch.float32}
    logits = policy.logits(IDS, ALL)
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float()), "the head rounds its logits to bf16"


def test_policies_of_one_base_share_its_weights_and_nothing_else(model_folder, wake, tmp_path):
    base = load_base(model_folder("qwen3"), base_model_id="small")
    first, second = base.new_adapter(rank=4), base.new_adapter(rank=8)
    before = second.logits(IDS, ALL).detach()
    wake(first)
    torch.testing.assert_close(second.logits(IDS, ALL), before, rtol=0, atol=0)
    weights = [dict(policy.network.base_tensors()) for policy in (first, second)]
    assert all(weights[0][name].data_ptr() == tensor.data_ptr() for name, tensor in weights[1].items())
    assert first.base_digest == second.base_digest


def test_base_digest_tells_bases_apart(save_small_model, policy_of, tmp_path):
    other = load_policy(save_small_model(tmp_path / "other", "qwen3", seed=1), base_model_id="small")
    assert policy_of().base_digest == policy_of(lora_rank=4, seed=7).base_digest != other.base_digest


def test_pickled_weights_are_refused(model_folder, tmp_path):
    shutil.copytree(model_folder("qwen3"), tmp_path / "model")
    (tmp_path / "model/model.safetensors").rename(tmp_path / "model/pytorch_model.bin")
    with pytest.raises(ModelError, match=r"no \*\.safetensors file; pytorch_model\.bin would run code"):
        load_policy(tmp_path / "model", base_model_id="small")


def test_code_that_comes_with_a_model_is_never_run(model_folder, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(model_folder("qwen3"), folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ModelError):
        load_policy(folder, base_model_id="small")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"r": 100_000}, "rank r is 100000"),
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"use_dora": True}, "'use_dora'"),
        ({"modules_to_save": ["lm_head"]}, "'modules_to_save'"),
        ({"target_modules": ".*"}, "target_modules must be a list"),
        ({"base_model_name_or_path": "other"}, "trained on 'other'"),
        ({"target_modules": ["nothing"]}, "do not fit"),
        ({"r": 8}, "has shape"),
    ],
)
def test_adapters_that_are_not_plain_lora_of_this_base_are_refused(policy_of, tmp_path, change, message):
    policy_of().save_adapter(tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(AdapterError, match=message):
        policy_of(adapter=tmp_path)


def test_adapter_with_other_tensors_or_none_is_refused(policy_of, tmp_path):
    policy_of().save_adapter(tmp_path)
    weights = tmp_path / "adapter_model.safetensors"
    save_file({"x": torch.zeros(1)}, weights)
    with pytest.raises(AdapterError, match=r"unexpected \['x'\]"):
        policy_of(adapter=tmp_path)
    weights.write_bytes(b"\x80\x04K.")  # a pickle
    with pytest.raises(AdapterError, match="not a safetensors file"):
        policy_of(adapter=tmp_path)
    weights.unlink()
    with pytest.raises(AdapterError, match="never loaded"):
        policy_of(adapter=tmp_path)


def test_sources_of_the_catalogue(tmp_path):
    assert resolve_source(BaseModelEntry(source=str(tmp_path))) == tmp_path
    assert resolve_source(BaseModelEntry(source="org/name")) == "org/name"
    with pytest.raises(ModelError, match="'no-such' is not in this installation"):
        resolve_source(BaseModelEntry(source="bundled:no-such"))


def test_one_thread_unless_told_otherwise():
    use_threads(2)
    assert torch.get_num_threads() == 2
    use_threads()
    assert torch.get_num_threads() == 1
