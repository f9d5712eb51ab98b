"""From a definition to a grader that can grade."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fettle_graders.code_grader import code_score
from fettle_graders.endpoint import endpoint_score
from fettle_graders.errors import UnsupportedGraderError
from fettle_graders.format import format_score
from fettle_graders.grade import Grader, Scored, ScoreOne, SingleGrader
from fettle_graders.json_schema import schema_checker
from fettle_graders.judge import judge_score
from fettle_graders.kinds import (
    CodeSpec,
    EndpointSpec,
    FormatSpec,
    GraderSpec,
    JsonSchemaSpec,
    LabelModelSpec,
    MajoritySpec,
    MathSpec,
    MultiSpec,
    ProcessSpec,
    PythonSpec,
    RegexSpec,
    RewardModelSpec,
    ScoreModelSpec,
    StringCheckSpec,
    TextSimilaritySpec,
)
from fettle_graders.majority import MajorityGrader
from fettle_graders.multi import MultiGrader
from fettle_graders.python_grader import python_score
from fettle_graders.regex import regex_score
from fettle_graders.reward_model import reward_model_score
from fettle_graders.sample import Sample, parse_json
from fettle_graders.services import Services, TextScore
from fettle_graders.spec import unsupported
from fettle_graders.string_check import check_string
from fettle_graders.template import parse_template
from fettle_graders.text_similarity import cosine, text_similarity


def compile_grader(spec: GraderSpec, services: Services | None = None) -> Grader:
    """Make a grader ready to grade. It is safe to use from many threads.

    Args:
        services: what it may use; by default nothing from outside, and this process's shared child for mathematics.

    Raises:
        UnsupportedGraderError: it needs a service that is not there, see `unsupported`.
    """
    services = services or Services()
    reason = unsupported(spec, services.available)
    if reason is not None:
        raise UnsupportedGraderError(reason)
    if isinstance(spec, MultiSpec):
        return MultiGrader(spec, {name: compile_grader(grader, services) for name, grader in spec.graders.items()})
    if isinstance(spec, MajoritySpec):
        return MajorityGrader(spec, services.math)
    return SingleGrader(spec, _score_one(spec, services))


def _score_one(spec: GraderSpec, services: Services) -> ScoreOne:
    match spec:
        case StringCheckSpec(operation=operation):
            return _text_pair(spec, lambda text, reference: check_string(text, reference, operation))
        case TextSimilaritySpec(evaluation_metric="cosine") if services.embedder is not None:
            return _text_pair(spec, cosine(services.embedder))
        case TextSimilaritySpec(evaluation_metric=metric):
            return _text_pair(spec, lambda text, reference: text_similarity(text, reference, metric))
        case MathSpec():
            return _text_pair(spec, services.math)
        case JsonSchemaSpec():
            return _json_schema(spec)
        case RegexSpec():
            return _regex(spec)
        case FormatSpec():
            return format_score(spec)
        case ScoreModelSpec() | LabelModelSpec() if services.judge is not None:
            return judge_score(spec, services.judge)
        case RewardModelSpec() | ProcessSpec() if services.scorer is not None:
            return reward_model_score(spec, services.scorer)
        case EndpointSpec() if services.http is not None:
            return endpoint_score(spec, services.http)
        case PythonSpec() if services.sandbox is not None:
            return python_score(spec, services.sandbox)
        case CodeSpec() if services.sandbox is not None:
            return code_score(spec, services.sandbox)
        case _:
            raise UnsupportedGraderError(f"no grader for the type {spec.type}")


def _text_pair(spec: StringCheckSpec | TextSimilaritySpec | MathSpec, score: TextScore) -> ScoreOne:
    """A kind that compares two filled-in templates."""
    text, reference = parse_template(spec.input), parse_template(spec.reference)

    def score_one(item: Mapping[str, Any], sample: Sample) -> Scored:
        return Scored(score(text.render(item, sample), reference.render(item, sample)))

    return score_one


def _json_schema(spec: JsonSchemaSpec) -> ScoreOne:
    text, why_not = parse_template(spec.input), schema_checker(spec.json_schema)

    def score_one(item: Mapping[str, Any], sample: Sample) -> Scored:
        error = why_not(parse_json(text.render(item, sample)))
        return Scored(float(error is None), message=error)

    return score_one


def _regex(spec: RegexSpec) -> ScoreOne:
    text = parse_template(spec.input)
    reference = None if spec.reference is None else parse_template(spec.reference)

    def score_one(item: Mapping[str, Any], sample: Sample) -> Scored:
        expected = None if reference is None else reference.render(item, sample)
        return Scored(regex_score(spec, text.render(item, sample), expected))

    return score_one
