"""Calls to remote graders: tried again while the service is away, and silent about secrets."""

from __future__ import annotations

import pytest

from fettle_graders.errors import GradeFailure
from fettle_workers.egress import Egress, parse_networks
from fettle_workers.egress.grader import HttpRemoteGrader

HEADERS = {"Authorization": "Bearer hush-hush", "X-Token": "quiet"}


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def remote(waits) -> HttpRemoteGrader:
    return HttpRemoteGrader(Egress(allowed=parse_networks(["127.0.0.1"]), timeout_s=0.5), sleep=waits.append)


def test_a_service_that_comes_back_is_asked_again_with_the_same_body(remote, serve, reply, waits) -> None:
    server = serve(reply(503), reply(500), reply(429), reply(200, {"score": 1}))
    assert remote.post(server.url, HEADERS, b'{"trace_id": "t"}') == b'{"score": 1}'
    assert [asked.body for asked in server.asked] == [b'{"trace_id": "t"}'] * 4
    assert server.asked[0].headers["content-type"] == "application/json"
    assert len(waits) == 3
    assert all(0.25 * 2**n <= wait <= 0.75 * 2**n for n, wait in enumerate(waits))


def test_after_four_tries_the_completion_is_dropped(remote, serve, reply) -> None:
    server = serve(reply(500, b"sorry"))
    with pytest.raises(GradeFailure, match=r"after 4 tries: .*HTTP 500: sorry") as caught:
        remote.post(server.url, HEADERS, b"{}")
    assert (caught.value.flag, len(server.asked)) == ("other_error", 4)


def test_a_service_that_hangs_is_unresponsive(remote, serve) -> None:
    server = serve(lambda handler, asked: handler.connection.recv(1))
    with pytest.raises(GradeFailure, match=r"within 0\.5 s") as caught:
        remote.post(server.url, {}, b"{}")
    assert (caught.value.flag, len(server.asked)) == ("unresponsive_reward_error", 4)


@pytest.mark.parametrize("status", [400, 401, 404, 413, 302])
def test_a_refusal_is_final(remote, serve, reply, status: int) -> None:
    server = serve(reply(status, {"detail": "no"}, {"Location": "http://x/"} if status == 302 else None))
    with pytest.raises(GradeFailure):
        remote.post(server.url, {}, b"{}")
    assert len(server.asked) == 1


def test_header_values_that_the_service_repeats_are_not_passed_on(remote, serve, reply) -> None:
    server = serve(reply(401, b"bad key hush-hush in Bearer hush-hush, or quiet"))
    with pytest.raises(GradeFailure) as caught:
        remote.post(server.url, HEADERS, b"{}")
    assert "bad key ***" in caught.value.message
    assert not any(secret in caught.value.message for secret in ("hush", "quiet"))


def test_a_private_address_is_not_called(serve, reply) -> None:
    server = serve(reply(200, {"score": 1}))
    with pytest.raises(GradeFailure, match="not public"):
        HttpRemoteGrader(Egress(timeout_s=5)).post(server.url, {}, b"{}")
    assert server.asked == []
