"""The supervisor's side of the internal API (`contract/internal.py`)."""

from __future__ import annotations

import httpx
from pydantic import BaseModel

from fettle_workers.contract.internal import (
    ClaimRequest,
    ClaimResponse,
    EventsRequest,
    HeartbeatRequest,
    HeartbeatResponse,
    ReleaseRequest,
)


class Fenced(Exception):
    """This attempt is over: another one owns the job. Stop at once and write nothing more."""


class ControlPlaneAway(Exception):
    """No usable answer; the same call may succeed later and does no harm when repeated."""


class Refused(Exception):
    """The control plane understood the call and will never accept it: versions that do not fit, or a bug."""


class ControlPlane:
    """Calls for one job. `token` is the workers' until `claim` puts the attempt's in its place."""

    def __init__(self, base_url: str, job_id: str, token: str, *, timeout_s: float = 30.0) -> None:
        self._url = f"{base_url.rstrip('/')}/internal/jobs/{job_id}"
        self._token = token
        self._http = httpx.Client(timeout=httpx.Timeout(timeout_s, connect=5.0), trust_env=False)

    def claim(self, request: ClaimRequest) -> ClaimResponse:
        claimed = ClaimResponse.model_validate_json(self._post("claim", request))
        self._token = claimed.token
        return claimed

    def heartbeat(self, request: HeartbeatRequest) -> HeartbeatResponse:
        return HeartbeatResponse.model_validate_json(self._post("heartbeat", request))

    def events(self, request: EventsRequest) -> HeartbeatResponse:
        return HeartbeatResponse.model_validate_json(self._post("events", request))

    def release(self, request: ReleaseRequest) -> None:
        self._post("release", request)

    def close(self) -> None:
        self._http.close()

    def _post(self, call: str, body: BaseModel) -> bytes:
        try:
            answer = self._http.post(
                f"{self._url}/{call}",
                content=body.model_dump_json(),
                headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
            )
        except httpx.HTTPError as error:
            raise ControlPlaneAway(f"{call}: {error!r}") from error
        if answer.status_code == 410:
            raise Fenced(call)
        if answer.status_code >= 500 or answer.status_code in (408, 409, 429):
            raise ControlPlaneAway(f"{call}: HTTP {answer.status_code} {answer.text[:300]}")
        if answer.status_code != 200:
            raise Refused(f"{call}: HTTP {answer.status_code} {answer.text[:1000]}")
        return answer.content
