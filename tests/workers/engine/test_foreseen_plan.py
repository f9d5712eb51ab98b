"""What the model server says that a job will do, beside what the job then does; on a random model."""

import dataclasses

import pytest

from fettle_workers.adapters.checkpoints import LocalCheckpoints
from fettle_workers.contract.spec import SupervisedHyperparameters, SupervisedMethod
from fettle_workers.engine.data import load_rows
from fettle_workers.engine.supervised import start_supervised
from fettle_workers.serving.errors import BadRequest, ModelBroken
from fettle_workers.serving.plans import Plans
from fettle_workers.store import open_store

AUTO = dict.fromkeys(("max_completion_tokens", "group_size", "max_steps", "eval_interval", "eval_samples"), "auto")


@pytest.fixture
def foresee(tmp_path, make_policy):
    """`foresee(spec)`: with the files of the job's work folder in a store, from a policy of the server's own."""
    store = open_store(f"file://{tmp_path}/store")
    plans = Plans(store)

    def asked(spec, of=plans):
        for file in (spec.training_file, spec.validation_file):
            if file and (path := tmp_path / "work" / "inputs" / file.sha256).is_file():
                store.put(file.key, path.read_bytes())
        return of.foresee(spec, make_policy(seed=99))

    asked.store = store
    return asked


@pytest.mark.parametrize("asked", [AUTO, AUTO | {"n_epochs": 3, "temperature": 0.7, "reasoning_effort": "high"}])
def test_the_foreseen_plan_is_the_one_that_the_job_stores(make_job, foresee, asked):
    job, _, events = make_job(**asked)
    found = foresee(job.spec)
    assert found.plan == events.of("started")[0].plan
    assert set(found.reasons) == {
        name for name, value in job.spec.method.hyperparameters.model_dump().items() if value == "auto"
    }


def test_reasons_hold_the_numbers_of_this_job(make_job, foresee):
    job, source, _ = make_job(**AUTO)
    reasons = foresee(job.spec).reasons
    # 4 rows x 16 answers = 64 a step; a pass is one update, so 150 updates are 150 passes.
    assert reasons["batch_size"] == "all rows in every step: 64 answers"
    assert reasons["n_epochs"] == "150 passes over 4 rows make about 150 updates of 4 prompts"
    longest = max(source.base_lengths)
    assert f"({longest} tokens)" in reasons["max_completion_tokens"]


def test_a_supervised_plan_is_foreseen_too(tmp_path, make_policy, make_job, foresee, simple_rows):
    rows = [
        {"messages": [*row["messages"], {"role": "assistant", "content": row["answer"]}]} for row in simple_rows(20)
    ]
    spec = make_job(rows=rows, validation=rows[:6])[0].spec
    spec = spec.model_copy(update={"method": SupervisedMethod(hyperparameters=SupervisedHyperparameters(n_epochs=2))})
    job, _ = start_supervised(
        spec,
        load_rows(spec, tmp_path / "work" / "inputs"),
        policy=make_policy(),
        checkpoints=LocalCheckpoints(tmp_path / "other"),
        events=type("Quiet", (), {"emit": lambda *_: None})(),
        control=None,
        resume_from=None,
    )
    found = foresee(spec)
    assert found.plan == dataclasses.asdict(job.plan)
    assert "n_epochs" not in found.reasons


def test_a_base_that_is_still_answering_leaves_only_its_length_open(make_job, foresee):
    job, _, events = make_job(**AUTO)
    ticks = iter(range(0, 10_000, 15))
    found = foresee(job.spec, Plans(foresee.store, clock=lambda: next(ticks)))
    open_values = {"max_completion_tokens": None, "kl_budget_nats": None}
    assert found.plan == events.of("started")[0].plan | open_values
    assert "the job or a preflight measures them" in found.reasons["max_completion_tokens"]


def test_a_base_that_did_not_answer_in_time_is_asked_again_a_minute_later(make_job, foresee):
    job, _, events = make_job(**AUTO)
    now, pace = [0.0], [15.0]  # seconds that pass between two looks at the clock

    def clock():
        now[0] += pace[0]
        return now[0]

    plans = Plans(foresee.store, clock=clock)
    assert foresee(job.spec, plans).plan["max_completion_tokens"] is None
    pace[0] = 0.0
    now[0] += 60.0
    assert foresee(job.spec, plans).plan["max_completion_tokens"] is None  # kept for a minute
    now[0] += 0.5
    assert foresee(job.spec, plans).plan == events.of("started")[0].plan


def test_the_base_is_asked_once_for_all_that_only_changes_what_is_made_of_it(make_job, foresee):
    job, *_ = make_job(**AUTO)
    calls = []
    plans = Plans(foresee.store, clock=lambda: calls.append(1) or 0.0)
    foresee(job.spec, plans)
    asked = len(calls)
    method = job.spec.method
    for name, value in {"n_epochs": 2, "batch_size": 3, "lora_rank": 32}.items():
        changed = method.hyperparameters.model_copy(update={name: value})
        spec = job.spec.model_copy(update={"method": method.model_copy(update={"hyperparameters": changed})})
        assert foresee(spec, plans).plan[name] == value
    assert len(calls) == asked > 1
    foresee(job.spec.model_copy(update={"seed": 8}), plans)
    assert len(calls) > asked


def test_what_the_job_would_fail_with_is_said_at_once(make_job, foresee):
    job, *_ = make_job(**AUTO)
    method = job.spec.method
    asked = method.hyperparameters.model_copy(update={"max_completion_tokens": 5000})
    too_long = job.spec.model_copy(update={"method": method.model_copy(update={"hyperparameters": asked})})
    with pytest.raises(BadRequest, match="the model's context leaves") as refused:
        foresee(too_long)
    assert refused.value.param == "method.reinforcement.hyperparameters.max_completion_tokens"
    gone = job.spec.training_file.model_copy(update={"key": "files/gone"})
    with pytest.raises(ModelBroken, match="cannot be read"):
        Plans(open_store(f"file://{foresee.store.root}/empty")).foresee(
            job.spec.model_copy(update={"training_file": gone}), job.policy
        )
