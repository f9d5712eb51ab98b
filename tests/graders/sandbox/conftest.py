"""Every case runs in both tiers."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace

import psutil
import pytest

from fettle_graders.compile import compile_grader
from fettle_graders.errors import SandboxFault
from fettle_graders.grade import Grade
from fettle_graders.sample import Sample
from fettle_graders.sandbox.failure import CodeFailure
from fettle_graders.sandbox.pool import Sandbox
from fettle_graders.sandbox.tenant import CodeSandbox
from fettle_graders.sandbox.tiers import TIERS, Limits
from fettle_graders.services import Services
from fettle_graders.spec import parse_grader

ROOMY = Limits(call_s=20.0, load_s=60.0, memory_bytes=512 * 1024**2)

GradeCode = Callable[..., Grade]


@pytest.fixture(scope="session", params=TIERS)
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with Sandbox(size=1, tiers=(request.param,), limits=ROOMY) as one:
        try:
            one.require()
        except SandboxFault as fault:
            if os.geteuid() == 0:  # continuous integration: a tier that does not run is not tested
                raise
            pytest.skip(fault.message)
        yield one


@pytest.fixture
def grade(sandbox: Sandbox) -> GradeCode:
    """Grade one completion with a source, on behalf of one organization."""

    def grade_(source: str, text: str = "", *, organization: str = "org", item: object = None) -> Grade:
        services = Services(sandbox=CodeSandbox(sandbox, organization, with_output=True))
        grader = compile_grader(parse_grader({"type": "python", "source": source}), services)
        return grader.grade(item or {}, Sample(text))  # type: ignore[arg-type]

    return grade_


HONEST = "def grade(sample, item): return 1"
BODY = b'[{"output_text": ""}, {}]'
SMALL = Limits(call_s=20.0, load_s=20.0, memory_bytes=128 * 1024**2)
HANGING_S = 1.0  # for what would never end; everything else has time, however busy the machine is
MAX_GROWTH_BYTES = 50 * 1024**2


@pytest.fixture(scope="module", params=TIERS)
def abused(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Sandbox, Sandbox]]:
    """A patient and an impatient pool for the whole run of a tier; at its end what they left behind is looked at."""
    with pytest.MonkeyPatch.context() as patch:
        # Others may make temporary files meanwhile, but not here.
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))
        yield from left_as_found(request.param)


def left_as_found(tier: str) -> Iterator[tuple[Sandbox, Sandbox]]:
    with Sandbox(size=1, tiers=(tier,), limits=SMALL) as warm_up:
        warm_up.grade("org", HONEST, BODY)
    host = psutil.Process()
    before = (host.num_fds(), set(host.children(recursive=True)), set(os.listdir(tempfile.gettempdir())))
    memory_before = host.memory_info().rss
    hurry = replace(SMALL, call_s=HANGING_S)
    tiers = (tier,)
    with Sandbox(tiers=tiers, limits=SMALL) as patient, Sandbox(tiers=tiers, limits=hurry) as impatient:
        yield patient, impatient
    growth = host.memory_info().rss - memory_before
    after = (host.num_fds(), set(host.children(recursive=True)), set(os.listdir(tempfile.gettempdir())))
    assert after == before
    assert growth < MAX_GROWTH_BYTES


@pytest.fixture
def attempt(abused: tuple[Sandbox, Sandbox]) -> Callable[..., tuple[str, float | str]]:
    """("ok", score), or the outcome's code and its message."""

    def attempt_(source: str, item: str = '{"n": 2}', *, hangs: bool = False) -> tuple[str, float | str]:
        try:
            return "ok", abused[hangs].grade("org", source, b'[{"output_text": ""}, %s]' % item.encode()).score
        except CodeFailure as failure:
            return failure.code, failure.message

    return attempt_
