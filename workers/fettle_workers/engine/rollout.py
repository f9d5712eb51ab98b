"""From prompts to graded completions."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from fettle_graders.grade import Grade
from fettle_graders.sample import Sample
from fettle_graders.services import total_usage
from fettle_workers.contract.events import GraderMetrics
from fettle_workers.engine.chat import ChatFormat, Parsed
from fettle_workers.engine.data import Row
from fettle_workers.engine.logprob import TokenSequence
from fettle_workers.engine.ports import GraderRunner, Sampler
from fettle_workers.engine.processes import Processes
from fettle_workers.engine.sampler import Completion, Request, SamplingParams

Purpose = Literal["train", "eval", "final", "report", "preflight"]
_Answer = tuple[Completion, Parsed]


@dataclass
class Rollout:
    """One completion and its grade. `advantage` is filled in by the training step; None: it trained nothing.

    Attributes:
        step: the step it was sampled in (an evaluation: the step of the policy); `policy_step` is the policy's.
        sample_index: number among all completions of this row in this step.
    """

    purpose: Purpose
    step: int
    policy_step: int
    epoch: float
    row: Row
    sample_index: int
    completion: Completion
    parsed: Parsed
    grade: Grade
    advantage: float | None = None

    @property
    def reward(self) -> float | None:
        return self.grade.score

    @property
    def may_train(self) -> bool:
        """Graded, and sampled for more than to vote."""
        return self.reward is not None and (self.grade.vote is None or self.grade.vote.trains)

    @property
    def is_truncated(self) -> bool:
        return self.completion.finish_reason == "length"

    @property
    def sequence(self) -> TokenSequence:
        return TokenSequence.completion(self.row.prompt_ids, self.completion.ids)


@dataclass(frozen=True)
class Group:
    """What to sample: several completions of one row, one a seed; `first_index` numbers the first of them."""

    row: Row
    seeds: tuple[int, ...]
    first_index: int = 0


@dataclass(frozen=True)
class Collected:
    """Rollouts of each group, in the order of the groups and their seeds, and what it took.

    Attributes:
        grading_s: the time in which nothing was sampled: giving completions to the grader, and waiting at the end for
            the grades that were not there yet.
        rows: the numbers of a training step's rows among the training rows.
    """

    groups: list[list[Rollout]]
    sampling_s: float
    grading_s: float
    rows: frozenset[int] = frozenset()

    @property
    def rollouts(self) -> list[Rollout]:
        return [rollout for group in self.groups for rollout in group]


def collect(
    groups: Sequence[Group],
    *,
    sampler: Sampler,
    graders: GraderRunner,
    chat: ChatFormat,
    params: SamplingParams,
    purpose: Purpose,
    step: int,
    policy_step: int,
    epoch: float,
) -> Collected:
    """Sample, and grade what is finished while the rest is sampled: single completions or, where the grader compares
    them, whole groups. The result does not depend on the order in which completions or grades arrive."""
    start = time.perf_counter()
    requests = [Request(group.row.prompt_ids, group.seeds) for group in groups]
    ungraded: list[list[_Answer]] = [[] for _ in groups]
    submitted: list[tuple[list[_Answer], Callable[[], list[Grade]]]] = []
    grading_s = 0.0
    for completion in sampler.sample(requests, params):
        finished, number = time.perf_counter(), completion.request_index
        group, answers = groups[number], ungraded[number]
        answers.append((completion, chat.parse(completion.ids)))
        if len(answers) == (len(group.seeds) if graders.needs_group else 1):
            ungraded[number] = []
            answers.sort(key=lambda answer: answer[0].sample_index)
            submitted.append((answers, graders.submit(group.row.item, [_sample(*answer) for answer in answers])))
        grading_s += time.perf_counter() - finished
    sampled = time.perf_counter()
    found: list[list[Rollout]] = [[] for _ in groups]
    for answers, grades in submitted:
        for (completion, parsed), grade in zip(answers, grades(), strict=True):
            group = groups[completion.request_index]
            index = group.first_index + completion.sample_index
            found[completion.request_index].append(
                Rollout(purpose, step, policy_step, epoch, group.row, index, completion, parsed, grade)
            )
    for rollouts in found:
        rollouts.sort(key=lambda rollout: rollout.sample_index)
    end = time.perf_counter()
    return Collected(found, sampling_s=sampled - start - grading_s, grading_s=end - sampled + grading_s)


def _sample(completion: Completion, parsed: Parsed) -> Sample:
    """The completion as graders see it, in the shape of a chat completion."""
    tools = [
        {"id": f"call_{index}", "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for index, call in enumerate(parsed.tool_calls)
    ]
    message: dict[str, Any] = {"role": "assistant", "content": parsed.text}
    if parsed.reasoning is not None:
        message["reasoning_content"] = parsed.reasoning
    if tools:
        message["tool_calls"] = tools
    reason = "tool_calls" if tools and completion.finish_reason == "stop" else completion.finish_reason
    return Sample(
        output_text=parsed.text,
        output_reasoning=parsed.reasoning,
        output_tools=tools or None,
        choices=[{"index": 0, "finish_reason": reason, "message": message}],
    )


def collect_shares(
    processes: Processes, groups: Sequence[Group], collect: Callable[[Sequence[Group]], Collected]
) -> Collected:
    """Have each process collect its share of the groups; every one gets the rollouts of all."""
    share = processes.share([len(group.seeds) for group in groups])
    parts = processes.gather(lambda: collect(groups[share]))
    return Collected(
        [rollouts for part in parts for rollouts in part.groups],
        sampling_s=max(part.sampling_s for part in parts),
        grading_s=max(part.grading_s for part in parts),
    )


def grader_metrics(spec: Any, rollouts: Sequence[Rollout], *, prefix: Literal["train", "valid"]) -> list[GraderMetrics]:
    """Means and error counts of the job's grader, and of each grader inside a multi grader.

    Args:
        spec: the grader's definition (any kind of `GraderSpec`).
    """
    grades = [rollout.grade for rollout in rollouts]
    of_parts = getattr(spec, "graders", {})
    whole = grades if not of_parts else [replace(grade, usage={}) for grade in grades]  # tokens are its parts'
    metrics = [_metrics(spec.name, spec.type, whole, prefix)]
    for name, part in of_parts.items():
        parts = [
            Grade(
                score=g.sub_scores.get(name),
                errors=g.sub_errors[name],
                execution_time_s=g.sub_execution_times_s.get(name, 0.0),
                usage=g.sub_usage.get(name, {}),
            )
            for g in grades
            if name in g.sub_errors
        ]
        metrics.append(_metrics(name, part.type, parts, prefix))
    return metrics


def _metrics(name: str, kind: str, grades: Sequence[Grade], prefix: Literal["train", "valid"]) -> GraderMetrics:
    scores = [grade.score for grade in grades if grade.score is not None]
    errors = dict(Counter(flag for grade in grades for flag in grade.errors.raised()))
    values: dict[str, Any] = {  # field names depend on the prefix
        f"{prefix}_reward_mean": sum(scores) / len(scores) if scores else None,
        f"{prefix}_errors": errors,
        f"{prefix}_latency_s_mean": sum(grade.execution_time_s for grade in grades) / len(grades) if grades else None,
        f"{prefix}_usage": total_usage(grade.usage for grade in grades),
    }
    return GraderMetrics(name=name, type=kind, **values)
