from datetime import timedelta

import pytest
from django.urls import path
from django.utils import timezone
from rest_framework.response import Response
from rest_framework.views import APIView

from fettle_platform.accounts.models import Organization
from fettle_platform.core.errors import InvalidRequest
from fettle_platform.core.idempotency import given_answers_expire, idempotent
from fettle_platform.core.models import GivenAnswer

effects = []


class Thing(APIView):
    @idempotent
    def post(self, request):
        if request.data.get("wrong"):
            raise InvalidRequest("wrong")
        effects.append(request.data)
        return Response({"number": len(effects)}, status=201)


class Job(APIView):
    @idempotent(dedupe_retries=True)
    def post(self, request):
        effects.append(request.data)
        if request.data.get("fails") and len(effects) == 1:
            raise ZeroDivisionError
        if request.data.get("dies"):
            Organization.objects.create(name="effect")
            return Response({"number": object()})  # storing this answer fails
        return Response({"number": len(effects)})


urlpatterns = [path("v1/thing", Thing.as_view()), path("v1/other", Thing.as_view()), path("v1/job", Job.as_view())]


@pytest.fixture(autouse=True)
def routes(settings):
    settings.ROOT_URLCONF = __name__
    effects.clear()


def send(api, route, body, key=None, retry=None):
    headers = {"idempotency-key": key} if key else {}
    return api.post(
        route, body, headers=headers | ({"x-stainless-retry-count": str(retry)} if retry is not None else {})
    )


def test_the_same_key_and_body_has_one_effect(api):
    first, second = send(api, "/v1/thing", {"a": 1}, "k"), send(api, "/v1/thing", {"a": 1}, "k")
    assert first.json() == second.json() == {"number": 1}
    assert second.status_code == 201
    assert second.headers["idempotent-replayed"] == "true"
    assert len(effects) == 1


def test_the_same_key_with_another_body_is_400(api, error_of):
    send(api, "/v1/thing", {"a": 1}, "k")
    assert error_of(send(api, "/v1/thing", {"a": 2}, "k"), 400)["param"] == "Idempotency-Key"


def test_a_key_counts_for_one_route_of_one_project(api, foreign_api):
    for client, route in [(api, "/v1/thing"), (api, "/v1/other"), (foreign_api, "/v1/thing")]:
        send(client, route, {"a": 1}, "k")
    assert len(effects) == 3


def test_a_refused_request_may_be_corrected_under_its_key(api, error_of):
    error_of(send(api, "/v1/thing", {"wrong": True}, "k"), 400)
    assert send(api, "/v1/thing", {"a": 1}, "k").status_code == 201


def test_a_duplicate_in_flight_is_409_until_it_counts_as_abandoned(api, error_of, scope):
    send(api, "/v1/thing", {"a": 1}, "k")
    GivenAnswer.objects.update(status=None)
    response = send(api, "/v1/thing", {"a": 1}, "k")
    error_of(response, 409)
    assert response.headers["retry-after"] == "1"
    GivenAnswer.objects.update(created_at=timezone.now() - timedelta(minutes=11))
    assert send(api, "/v1/thing", {"a": 1}, "k").json() == {"number": 2}


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_has_a_sensible_length(api, error_of, key):
    error_of(api.post("/v1/thing", {}, headers={"idempotency-key": key}), 400)


def test_answers_are_forgotten_after_a_day(api):
    send(api, "/v1/thing", {"a": 1}, "k")
    GivenAnswer.objects.update(created_at=timezone.now() - timedelta(days=2))
    assert send(api, "/v1/thing", {"a": 1}, "k").json() == {"number": 2}
    GivenAnswer.objects.update(created_at=timezone.now() - timedelta(days=2))
    assert given_answers_expire() == 1
    assert not GivenAnswer.objects.exists()


def test_a_repeat_by_the_official_client_gets_the_first_answer(api):
    assert send(api, "/v1/job", {"a": 1}, retry=0).json() == {"number": 1}
    assert send(api, "/v1/job", {"a": 1}, retry=1).json() == {"number": 1}
    assert send(api, "/v1/job", {"a": 1}, retry=2).json() == {"number": 1}


def test_two_first_attempts_are_two_requests(api):
    assert send(api, "/v1/job", {"a": 1}, retry=0).json() == {"number": 1}
    assert send(api, "/v1/job", {"a": 1}, retry=0).json() == {"number": 2}
    assert send(api, "/v1/job", {"a": 1}, retry=1).json() == {"number": 2}


def test_a_repeat_that_was_never_seen_runs(api):
    assert send(api, "/v1/job", {"a": 1}, retry=1).json() == {"number": 1}
    assert send(api, "/v1/job", {"a": 1}, retry=2).json() == {"number": 1}


def test_a_repeat_with_another_body_or_key_or_too_late_runs(api, foreign_api):
    send(api, "/v1/job", {"a": 1}, retry=0)
    assert send(api, "/v1/job", {"a": 2}, retry=1).json() == {"number": 2}
    assert send(foreign_api, "/v1/job", {"a": 1}, retry=1).json() == {"number": 3}
    GivenAnswer.objects.update(created_at=timezone.now() - timedelta(minutes=16))
    assert send(api, "/v1/job", {"a": 1}, retry=1).json() == {"number": 4}


def test_a_repeat_while_the_first_still_runs_is_409(api, error_of):
    send(api, "/v1/job", {"a": 1}, retry=0)
    GivenAnswer.objects.update(status=None)
    error_of(send(api, "/v1/job", {"a": 1}, retry=1), 409)


def test_after_a_server_error_the_repeat_runs(api, error_of):
    error_of(send(api, "/v1/job", {"fails": 1}, retry=0), 500)
    assert send(api, "/v1/job", {"fails": 1}, retry=1).json() == {"number": 2}


def test_an_effect_without_its_answer_is_taken_back(api, error_of):
    """A process that dies between the two must not leave an effect that the repeat would make again."""
    error_of(send(api, "/v1/job", {"a": 1, "dies": True}, retry=0), 500)
    assert not Organization.objects.filter(name="effect").exists()
