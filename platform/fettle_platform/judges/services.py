"""Which judge a model name stands for, within one project.

Keys of upstreams stay in this process: trainers ask through `/internal/jobs/{id}/judge`.
"""

from __future__ import annotations

from functools import lru_cache

from django.conf import settings
from django.db import connection

from fettle_graders.errors import GradeFailure
from fettle_graders.services import Judge, JudgeAnswer, JudgeRequest
from fettle_platform.accounts.models import Project
from fettle_platform.accounts.scoping import Scope
from fettle_platform.core.errors import NotFound
from fettle_platform.registry.catalogue import catalogue
from fettle_platform.registry.selectors import served_model
from fettle_workers.egress.judge import AllowedJudges, JudgeUpstream, OpenAIJudge


class ProjectJudge:
    """Any model that the project may ask here, and every upstream's that the operator allows; ours come first."""

    def __init__(self, project: Project) -> None:
        self._scope = Scope(organization=project.organization, project=project)

    def ask(self, request: JudgeRequest) -> JudgeAnswer:
        """Raises GradeFailure with `model_grader_server_error`; also where there is no such judge."""
        try:
            judge = judge_of(self._scope, request.model)
        except NotFound as error:
            message = f"judge {request.model}: {error}"
            raise GradeFailure("model_grader_server_error", message, details=str(error)) from error
        finally:
            if not connection.in_atomic_block:
                connection.close()  # the answer may take minutes, and Django would keep it until then
        return judge.ask(request)


def judge_of(scope: Scope, model: str) -> Judge:
    """Raises NotFound: the project may not ask such a model; the message lists some that it may."""
    allowed = _allowed(tuple(settings.FETTLE.judges))
    base_url: str | None = settings.FETTLE.inference_url
    if base_url is None or (model not in catalogue() and model in allowed.models):
        if model in allowed.models:
            return allowed
        raise NotFound(f"no such judge: {model[:100]}; there are: {_some(allowed.models)}", param="model")
    try:
        served = served_model(scope, model, shared=True)
    except NotFound as error:
        raise NotFound(f"{error} Judges elsewhere: {_some(allowed.models)}.", param="model") from None
    return _served(base_url, served.upstream_name)


def has_judges() -> bool:
    return settings.FETTLE.inference_url is not None or bool(settings.FETTLE.judges)


def _some(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names[:10]) or "none"


@lru_cache(maxsize=4)
def _allowed(upstreams: tuple[JudgeUpstream, ...]) -> AllowedJudges:
    return AllowedJudges(upstreams)


@lru_cache(maxsize=64)
def _served(base_url: str, upstream_name: str) -> OpenAIJudge:
    return OpenAIJudge(f"{base_url}/v1", name_of=lambda _: upstream_name, is_bounded=True)
