import pytest

from fettle_workers.contract.spec import ReinforcementHyperparameters, SupervisedHyperparameters
from fettle_workers.engine.errors import JobFailed
from fettle_workers.engine.plan import reinforcement_lr, resolve_plan, resolve_supervised_plan


def plan_of(num_rows, *, base_lengths=(30,) * 32, room=400, items=20, **asked):
    return resolve_plan(
        ReinforcementHyperparameters(**asked),
        num_rows=num_rows,
        select_items=items,
        report_items=items,
        in_sample=False,
        hidden_size=128,
        completion_room=room,
        base_lengths=base_lengths,
    )


def test_eight_rows_are_all_in_every_step():
    plan = plan_of(8)
    assert (plan.batch_size, plan.group_size, plan.prompt_copies) == (8, 16, 1)
    assert plan.completions_per_step == 128
    assert (plan.n_epochs, plan.total_steps) == (150, 150)


def test_eight_rows_by_300_epochs_are_300_steps():
    assert plan_of(8, n_epochs=300).total_steps == 300


def test_one_row_is_sampled_in_four_groups():
    plan = plan_of(1, n_epochs=10_000)
    assert (plan.batch_size, plan.prompt_copies, plan.total_steps) == (1, 4, 10_000)


def test_many_rows_are_visited_once_at_least():
    plan = plan_of(5000)
    assert (plan.n_epochs, plan.total_steps) == (1, 625)


def test_max_steps_caps_the_epochs():
    assert plan_of(5000, n_epochs=3, max_steps=40).total_steps == 40


@pytest.mark.parametrize(("multiplier", "size"), [(0.00002, 2), (0.5, 8), (1, 16), (10, 64)])
def test_compute_multiplier_scales_the_group(multiplier, size):
    assert plan_of(100, compute_multiplier=multiplier).group_size == size


def test_a_step_stays_near_128_completions_when_groups_grow():
    plan = plan_of(100, group_size=64)
    assert (plan.batch_size, plan.completions_per_step) == (2, 128)


def test_several_updates_share_a_rollout_and_visit_as_many_prompts_in_all():
    plan = plan_of(8, n_epochs=300, updates_per_rollout=4)
    assert (plan.batch_size, plan.prompts_per_step, plan.completions_per_step) == (8, 32, 512)
    assert plan.total_steps * plan.prompts_per_step == plan_of(8, n_epochs=300).total_steps * 8
    assert plan_of(8).updates_per_rollout == 1


def test_there_are_at_most_20_fields():
    assert len(ReinforcementHyperparameters.model_fields) <= 20


def test_learning_rate_follows_the_width():
    assert reinforcement_lr(3584) == pytest.approx(4e-5)
    assert 1e-3 < reinforcement_lr(128) < 2e-3
    assert plan_of(8, learning_rate_multiplier=2).learning_rate == pytest.approx(2 * reinforcement_lr(128))


def test_there_is_always_a_warm_up():
    assert plan_of(8, max_steps=1).warmup_steps == 1
    assert plan_of(8).warmup_steps == 10


def test_completions_get_twice_the_base_s_own_length():
    assert plan_of(8, base_lengths=(40,) * 32).max_completion_tokens == 80
    assert plan_of(8, base_lengths=(40,) * 32, reasoning_effort="high").max_completion_tokens == 160
    assert plan_of(8, base_lengths=(400,) * 32, room=500).max_completion_tokens == 500


def test_an_asked_length_that_does_not_fit_is_refused():
    with pytest.raises(JobFailed, match="leaves 400 tokens") as refused:
        plan_of(8, max_completion_tokens=401)
    param = "method.reinforcement.hyperparameters.max_completion_tokens"
    assert (refused.value.code, refused.value.param) == ("invalid_hyperparameters", param)


def test_evaluations_cost_at_most_a_quarter():
    plan = plan_of(8, items=400, n_epochs=300)
    evaluated = plan.select_items * plan.eval_samples / plan.eval_interval
    assert evaluated <= plan.completions_per_step / 3 + 1


def test_what_is_asked_is_kept():
    asked = {"batch_size": 12, "group_size": 5, "n_epochs": 7, "eval_interval": 3, "eval_samples": 6, "lora_rank": 8}
    plan = plan_of(8, temperature=0.7, kl_coef=0.01, early_stopping=False, **asked)
    assert {name: getattr(plan, name) for name in asked} == asked
    assert (plan.temperature, plan.kl_coef, plan.early_stopping) == (0.7, 0.01, False)


def test_supervised_plan_repeats_few_rows():
    plan = resolve_supervised_plan(
        SupervisedHyperparameters(), num_rows=4, select_items=5, report_items=5, in_sample=False, hidden_size=3584
    )
    assert (plan.batch_size, plan.n_epochs, plan.total_steps) == (4, 25, 25)
    assert plan.learning_rate == pytest.approx(2e-4)
