"""`endpoint`: a service of the user's own answers the score."""

from __future__ import annotations

import json
import math
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from fettle_graders.errors import GradeFailure
from fettle_graders.grade import Scored, ScoreOne
from fettle_graders.kinds import EndpointSpec
from fettle_graders.sample import Sample
from fettle_graders.services import RemoteGrader


def endpoint_score(spec: EndpointSpec, http: RemoteGrader) -> ScoreOne:
    """POST `{sample, item, trace_id}`; the answer is `{"score": number}`. Retries of one call keep its trace id."""
    wait_turn = RateLimit(spec.rate_limit).wait if spec.rate_limit is not None else None

    def score(item: Mapping[str, Any], sample: Sample) -> Scored:
        call = {"sample": sample.to_json(), "item": dict(item), "trace_id": f"trace_{uuid.uuid4().hex}"}
        try:
            body = json.dumps(call, ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, RecursionError) as error:  # NaN, a surrogate, over 4300 digits, nested too deep
            raise GradeFailure(
                "other_error", f"the row or the completion cannot be written as JSON: {error}"
            ) from error
        if wait_turn is not None:
            wait_turn()
        return Scored(_score_of(http.post(spec.url, spec.headers or {}, body)))

    return score


def _score_of(body: bytes) -> float:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise GradeFailure("other_error", f"the endpoint's answer is not JSON: {error}") from error
    score = answer.get("score") if isinstance(answer, dict) else None
    if isinstance(score, bool) or not isinstance(score, int | float):
        keys = (
            f"the keys {', '.join(map(str, list(answer)[:5])) or 'none'}" if isinstance(answer, dict) else "no object"
        )
        raise GradeFailure("other_error", f'the endpoint has to answer {{"score": <number>}}; found {keys[:200]}')
    try:
        value = float(score)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise GradeFailure("other_error", "the endpoint's score is not a finite number")
    return value


class RateLimit:
    """At most `per_s` calls a second, evenly spaced. Safe to use from many threads.

    Args:
        clock, sleep: for tests without waiting.
    """

    def __init__(
        self,
        per_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._gap_s = 1 / per_s
        self._clock = clock
        self._sleep = sleep
        self._next = -math.inf
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Return when it is this call's turn."""
        with self._lock:
            now = self._clock()
            turn = max(now, self._next)
            self._next = turn + self._gap_s
        if turn > now:
            self._sleep(turn - now)
