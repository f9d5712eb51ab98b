"""The trainer asks judge models through the control plane, which holds the keys and knows what a project may ask."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import httpx

from fettle_graders.errors import GradeFailure
from fettle_graders.services import JudgeAnswer, JudgeRequest
from fettle_workers.contract.internal import JudgeAccess, JudgeCall, JudgeReply

# A restart of the control plane is no reason to lose grades: nine waits, five minutes in all.
_WAITS_S = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 90.0, 110.0)
_ANSWER_S = 900.0  # the control plane's own tries towards the judge, all together


class ControlPlaneJudge:
    """Safe to use from many threads.

    Args:
        sleep: waits that many seconds between tries.
    """

    def __init__(self, access: JudgeAccess, job_id: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._url = f"{access.control_plane_url.rstrip('/')}/internal/jobs/{job_id}/judge"
        self._attempt = access.attempt
        self._sleep = sleep
        self._http = httpx.Client(
            headers={"Authorization": f"Bearer {access.token}", "Content-Type": "application/json"},
            timeout=httpx.Timeout(_ANSWER_S, connect=5.0),
            trust_env=False,
        )

    def ask(self, request: JudgeRequest) -> JudgeAnswer:
        """Raises GradeFailure with `model_grader_server_error`."""
        body = JudgeCall(attempt=self._attempt, request=request).model_dump_json()
        failure = ""
        for wait_s in (*_WAITS_S, None):
            try:
                answer = self._http.post(self._url, content=body)
            except httpx.HTTPError as error:
                failure = repr(error)
            else:
                if answer.status_code == 200:
                    return _unpacked(JudgeReply.model_validate_json(answer.content))
                failure = f"HTTP {answer.status_code} {answer.text[:300]}"
                if answer.status_code < 500 and answer.status_code not in (408, 429):
                    break
            if wait_s is not None:
                self._sleep(wait_s * random.uniform(0.5, 1.0))
        raise GradeFailure(
            "model_grader_server_error", f"the control plane passed no question on: {failure}", details=failure
        )


def _unpacked(reply: JudgeReply) -> JudgeAnswer:
    if reply.answer is None:
        message = reply.failure or "no reason given"
        raise GradeFailure("model_grader_server_error", message, details=reply.details or message)
    return reply.answer
