"""Why each `auto` of a plan became what it is: one short clause per hyperparameter, with the numbers of this job."""

from __future__ import annotations

import math

from fettle_workers.contract.spec import ReinforcementHyperparameters, SupervisedHyperparameters
from fettle_workers.engine.plan import (
    AUTO_STEPS,
    COMPLETIONS_PER_STEP,
    MAX_EVALUATIONS,
    Facts,
    Plan,
    SupervisedPlan,
    auto_completion_bound,
)


def reinforcement_reasons(asked: ReinforcementHyperparameters, plan: Plan, facts: Facts) -> dict[str, str]:
    """For what was left on `auto`. With no `base_lengths` what follows from them is said to be open."""
    answers = plan.prompts_per_step * plan.prompt_copies * plan.group_size
    held_out = "training rows, asked afresh" if plan.in_sample else "held-out rows"
    found = {
        "n_epochs": f"{_passes(plan)} about {AUTO_STEPS} updates of {_count(plan.batch_size, 'prompt')}",
        "max_steps": f"no limit but the {_count(plan.n_epochs, 'pass', 'passes')} over {_count(plan.num_rows, 'row')}",
        "early_stopping": "training ends once evaluations get no better",
        "eval_interval": _eval_interval(plan, answers),
        "eval_samples": f"about 200 answers in all, over {plan.select_items} {held_out}",
        "batch_size": _batch_size(plan, answers),
        "group_size": _group_size(asked),
        "compute_multiplier": "more explores more and costs as much more",
        "max_completion_tokens": _max_completion_tokens(asked, plan, facts),
        "temperature": "answers as the model itself would give them",
        "learning_rate_multiplier": _rate(plan, facts.hidden_size),
        "lora_rank": _RANK,
        "updates_per_rollout": "every answer trains the policy that gave it",
        "kl_coef": _kl_coef(plan, facts),
        "length_penalty": "until answers grow without getting better",
    }
    return {name: why for name, why in found.items() if getattr(asked, name) == "auto"}


def supervised_reasons(asked: SupervisedHyperparameters, plan: SupervisedPlan, *, hidden_size: int) -> dict[str, str]:
    """The same for a supervised job."""
    found = {
        "n_epochs": f"{_passes(plan)} about 60 steps, but at least 3 passes and at most 25",
        "max_steps": f"no limit but the {_count(plan.n_epochs, 'pass', 'passes')} over {_count(plan.num_rows, 'row')}",
        "eval_interval": f"evaluating {_count(plan.select_items, 'held-out row')} stays a small part of the work",
        "batch_size": "LoRA tolerates large batches less than full tuning",
        "learning_rate_multiplier": _rate(plan, hidden_size),
        "lora_rank": _RANK,
    }
    return {name: why for name, why in found.items() if getattr(asked, name) == "auto"}


_RANK = "from 8 on every rank learnt alike, and every server can serve it"


def _passes(plan: Plan | SupervisedPlan) -> str:
    return f"{_count(plan.n_epochs, 'pass', 'passes')} over {_count(plan.num_rows, 'row')} make"


def _rate(plan: Plan | SupervisedPlan, hidden_size: int) -> str:
    return f"the rate is {plan.learning_rate:.2g}, which follows the model's width of {hidden_size}"


def _batch_size(plan: Plan, answers: int) -> str:
    if plan.batch_size < plan.num_rows:
        return f"{plan.batch_size} x {plan.group_size} answers; about {COMPLETIONS_PER_STEP} make a steady step"
    copies = f", each in {plan.prompt_copies} groups" if plan.prompt_copies > 1 else ""
    return f"all rows in every step{copies}: {answers} answers"


def _group_size(asked: ReinforcementHyperparameters) -> str:
    times = asked.compute_multiplier
    if times in ("auto", 1):
        return "the middle of what is published, 8 to 64"
    return f"16 times the compute multiplier {times}"


def _eval_interval(plan: Plan, answers: int) -> str:
    if plan.eval_interval == plan.total_steps:
        return "once, at the end: the job is short"
    affordable = math.ceil(3 * plan.select_items * plan.eval_samples / answers)
    if plan.eval_interval == affordable:
        asked = plan.select_items * plan.eval_samples
        return f"the {asked} answers of an evaluation are then at most a quarter of all"
    if plan.eval_interval == math.ceil(5 / plan.updates_per_rollout):
        return "at least 5 updates lie between two evaluations"
    return f"at most {MAX_EVALUATIONS} evaluations in all"


def _max_completion_tokens(asked: ReinforcementHyperparameters, plan: Plan, facts: Facts) -> str:
    lengths = sorted(facts.base_lengths)
    if not lengths:
        return "twice the base's longest own answers: the job or a preflight measures them"
    longest = lengths[int(0.99 * (len(lengths) - 1))]
    why = f"twice the longest of the base's own answers ({_count(longest, 'token')})"
    if asked.reasoning_effort in ("low", "high"):
        why += f", times the effort {asked.reasoning_effort}"
    if plan.max_completion_tokens == facts.completion_room:
        return f"{why}, but the context leaves no more"
    if plan.max_completion_tokens == auto_completion_bound(asked.reasoning_effort):
        return f"{why}, but no more than this by itself"
    return why


def _kl_coef(plan: Plan, facts: Facts) -> str:
    if not facts.base_lengths:
        return "until the policy is too far from its base, then as much as leads back"
    return f"until the policy is {plan.kl_budget_nats:.2g} nats per token from its base, then as much as leads back"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
