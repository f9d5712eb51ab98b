"""Remote graders over HTTP: the port `RemoteGrader` of the grader library, with retries."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping

from fettle_graders.errors import GradeFailure
from fettle_workers.egress.client import Answer, Egress, EgressFailed, EgressRefused, EgressTimeout

RETRIES = 3
_FIRST_WAIT_S = 0.5
_SHOWN_CHARS = 200


class HttpRemoteGrader:
    """Tries a call four times in all while the service is away (no answer, 429, 5xx); anything else is final.

    Args:
        sleep: waits that many seconds between tries.
    """

    def __init__(self, egress: Egress, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._egress = egress
        self._sleep = sleep

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> bytes:
        sent = {"Content-Type": "application/json"} if "content-type" not in map(str.lower, headers) else {}
        sent |= headers
        for attempt in range(RETRIES + 1):
            if attempt:
                self._sleep(_FIRST_WAIT_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))
            try:
                answer = self._egress.post(url, headers=sent, body=body)
            except EgressRefused as error:
                raise GradeFailure("other_error", f"the endpoint was not called: {error}") from error
            except EgressTimeout as error:
                failure = GradeFailure("unresponsive_reward_error", str(error))
            except EgressFailed as error:
                failure = GradeFailure("other_error", str(error))
            else:
                if 200 <= answer.status < 300:
                    return answer.body
                failure = GradeFailure("other_error", _said(answer, headers))
                if answer.status != 429 and answer.status < 500:
                    raise failure
        raise GradeFailure(failure.flag, f"after {RETRIES + 1} tries: {failure.message}")


def _said(answer: Answer, headers: Mapping[str, str]) -> str:
    """What the service said, without header values that it may have repeated."""
    text = answer.body.decode("utf-8", "replace")
    for value in sorted(headers.values(), key=len, reverse=True):
        secret = value.split()[-1] if value.split() else ""
        text = text.replace(value, "***") if value else text
        text = text.replace(secret, "***") if secret else text
    return f"the endpoint answered HTTP {answer.status}: {text[:_SHOWN_CHARS]}"
