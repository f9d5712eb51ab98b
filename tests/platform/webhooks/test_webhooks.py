"""Webhooks by the official client: endpoints, signatures it accepts, retries, and what a dead receiver leads to."""

import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai
import pytest

from fettle_platform.webhooks.deliver import BACK_OFF, deliver, deliveries_expire, deliveries_start
from fettle_platform.webhooks.models import WebhookDelivery, WebhookEndpoint
from fettle_platform.webhooks.services import event_record

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SUCCEEDED = "fine_tuning.job.succeeded"


@pytest.fixture
def receiver():
    """A server that keeps what it gets: `.url`, `.got` as (headers, body), `.status` to answer with."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            self.server.got.append((dict(self.headers), body))
            self.send_response(self.server.status)
            self.send_header("content-length", "0")
            self.end_headers()
            self.server.arrived.set()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.got, server.status, server.arrived = [], 200, threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def loopback_allowed(change_env):
    change_env(egress_allow=["127.0.0.0/8"])


@pytest.fixture
def client(openai_client, loopback_allowed):
    return openai_client


@pytest.fixture
def endpoint(scope, receiver, loopback_allowed):
    return WebhookEndpoint.objects.create(
        project=scope.project, name="ours", url=receiver.url, event_types=[SUCCEEDED], created_at=NOW
    )


@pytest.fixture
def delivery(endpoint):
    event_record(project_id=endpoint.project_id, event_type=SUCCEEDED, object_id="ftjob-1", now=NOW)
    return WebhookDelivery.objects.get()


def attempt(delivery, now):
    """One round of the sender, in this thread."""
    from fettle_platform.webhooks.deliver import _claim

    assert _claim(delivery, now=now)
    delivery = WebhookDelivery.objects.select_related("endpoint").get(pk=delivery.pk)
    deliver(delivery)
    return WebhookDelivery.objects.get(pk=delivery.pk)


def test_endpoints_live_as_the_client_expects(client, receiver):
    assert SUCCEEDED in client.webhooks.event_types.list().data
    made = client.webhooks.create(name="ours", url=receiver.url, event_types=[SUCCEEDED])
    assert made.signing_secret.startswith("whsec_")
    assert made.signing_secret_hint == f"whsec_...{made.signing_secret[-4:]}"
    changed = client.webhooks.update(made.id, name="theirs", event_types=["fine_tuning.job.failed"])
    assert (changed.name, changed.url, changed.event_types) == ("theirs", receiver.url, ["fine_tuning.job.failed"])
    assert [each.id for each in client.webhooks.list()] == [made.id]
    assert not hasattr(client.webhooks.retrieve(made.id), "signing_secret")
    assert client.webhooks.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.webhooks.retrieve(made.id)


def test_a_delivery_is_what_the_client_unwraps(client, receiver):
    made = client.webhooks.create(name="ours", url=receiver.url, event_types=[SUCCEEDED])
    tested = client.webhooks.test(made.id, event_type=SUCCEEDED)
    assert (tested.status_code, tested.success) == (200, True)
    headers, body = receiver.got[0]
    event = client.webhooks.unwrap(body, headers, secret=made.signing_secret)
    assert (event.type, event.object) == (SUCCEEDED, "event")
    assert event.id == headers["webhook-id"]
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.unwrap(body.replace(b"ftjob-", b"ftjob_"), headers, secret=made.signing_secret)


def test_after_a_rotation_both_secrets_sign_for_a_day_if_asked(client, receiver):
    made = client.webhooks.create(name="ours", url=receiver.url, event_types=[SUCCEEDED])
    kept = client.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
    client.webhooks.test(made.id, event_type=SUCCEEDED)
    headers, body = receiver.got[-1]
    for secret in (made.signing_secret, kept.signing_secret):
        client.webhooks.verify_signature(body, headers, secret=secret)
    replaced = client.webhooks.rotate_secret(made.id)
    client.webhooks.test(made.id, event_type=SUCCEEDED)
    headers, body = receiver.got[-1]
    client.webhooks.verify_signature(body, headers, secret=replaced.signing_secret)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.verify_signature(body, headers, secret=kept.signing_secret)


def test_the_end_of_a_job_is_sent_by_the_background_work(client, receiver):
    from fettle_platform.jobs.tick import tick

    cancelled = "fine_tuning.job.cancelled"
    made = client.webhooks.create(name="ours", url=receiver.url, event_types=[cancelled])
    row = b'{"messages": [{"role": "user", "content": "1 + 1?"}], "answer": "2"}\n'
    files = [client.files.create(file=("rows.jsonl", row), purpose="fine-tune").id for _ in range(2)]
    grader = {"type": "string_check", "input": "{{sample.output_text}}", "reference": "2", "operation": "eq"}
    job = client.fine_tuning.jobs.create(
        model="fettle-tiny",
        training_file=files[0],
        validation_file=files[1],
        method={"type": "reinforcement", "reinforcement": {"grader": grader}},
    )
    client.fine_tuning.jobs.cancel(job.id)
    assert tick()["webhooks"] == 1
    assert receiver.arrived.wait(20)
    event = client.webhooks.unwrap(receiver.got[0][1], receiver.got[0][0], secret=made.signing_secret)
    assert (event.type, event.data.id) == (cancelled, job.id)
    assert tick()["webhooks"] == 0


def test_only_subscribed_endpoints_of_the_project_hear_of_it(endpoint, other, scope):
    WebhookEndpoint.objects.create(project=other[0].project, name="o", url="https://o.example", event_types=[SUCCEEDED])
    event_record(project_id=scope.project.pk, event_type="fine_tuning.job.failed", object_id="ftjob-1", now=NOW)
    assert not WebhookDelivery.objects.exists()
    event_record(project_id=scope.project.pk, event_type=SUCCEEDED, object_id="ftjob-1", now=NOW)
    assert [each.endpoint for each in WebhookDelivery.objects.all()] == [endpoint]


def test_a_failed_attempt_is_made_again_later_under_the_same_id(delivery, receiver):
    receiver.status = 503
    tried = attempt(delivery, NOW)
    assert (tried.num_attempts, tried.last_status, tried.delivered_at) == (1, 503, None)
    assert tried.next_attempt_at == NOW + BACK_OFF[0]
    receiver.status = 204
    done = attempt(tried, NOW + BACK_OFF[0])
    assert (done.num_attempts, done.last_status, done.next_attempt_at) == (2, 204, None)
    assert done.delivered_at is not None
    assert {headers["webhook-id"] for headers, _ in receiver.got} == {delivery.event_id}


def test_of_two_senders_one_gets_the_attempt(delivery):
    from fettle_platform.webhooks.deliver import _claim

    assert _claim(delivery, now=NOW)
    assert not _claim(delivery, now=NOW)


def test_a_disabled_endpoint_hears_nothing_until_the_next_update(api, endpoint):
    def num_recorded():
        event_record(project_id=endpoint.project_id, event_type=SUCCEEDED, object_id="ftjob-1", now=NOW)
        return WebhookDelivery.objects.count()

    address = f"/v1/webhook_endpoints/{endpoint.public_id}"
    assert api.post(address, {"disabled": True}).json()["fettle"]["disabled_at"] is not None
    assert num_recorded() == 0
    assert api.post(address, {"name": "on again"}).json()["fettle"]["disabled_at"] is None
    assert num_recorded() == 1


def test_an_endpoint_that_never_answers_is_disabled_after_three_days_until_it_is_changed(
    api, delivery, endpoint, receiver
):
    assert timedelta(days=2.5) < sum(BACK_OFF, timedelta()) < timedelta(days=3.5)
    receiver.status, now = 500, NOW
    for wait in (*BACK_OFF, None):
        delivery = attempt(delivery, now)
        now += wait or timedelta()
    assert delivery.next_attempt_at is None
    shown = api.get(f"/v1/webhook_endpoints/{endpoint.public_id}").json()
    assert shown["fettle"]["disabled_at"] is not None
    event_record(project_id=endpoint.project_id, event_type=SUCCEEDED, object_id="ftjob-2", now=now)
    assert WebhookDelivery.objects.count() == 1
    shown = api.post(f"/v1/webhook_endpoints/{endpoint.public_id}", {"url": receiver.url}).json()
    assert shown["fettle"]["disabled_at"] is None


def test_the_log_shows_attempts_and_an_event_can_be_sent_again(api, foreign_api, endpoint, delivery, receiver):
    attempt(delivery, NOW)
    path = f"/v1/fettle/webhook_endpoints/{endpoint.public_id}/deliveries"
    (shown,) = api.get(path).json()["data"]
    assert (shown["id"], shown["num_attempts"], shown["last_status"]) == (delivery.event_id, 1, 200)
    again = api.post(f"{path}/{delivery.event_id}/resend").json()
    assert (again["num_attempts"], again["delivered_at"]) == (0, None)
    assert again["next_attempt_at"] is not None
    assert api.post(f"{path}/evt_none/resend").status_code == 404


def test_a_delivered_event_is_forgotten_after_a_month(delivery, receiver):
    attempt(delivery, NOW)
    assert deliveries_expire(now=NOW + timedelta(days=29)) == 0
    assert deliveries_expire(now=NOW + timedelta(days=31)) == 1


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"url": "http://example.com/hook"}, "url"),
        ({"url": "ftp://example.com"}, "url"),
        ({"url": 7}, "url"),
        ({"event_types": []}, "event_types"),
        ({"event_types": ["fine_tuning.job.paused"]}, "event_types"),
        ({"name": ""}, "name"),
    ],
)
def test_a_wrong_endpoint_is_refused(api, error_of, change, param):
    body = {"name": "ours", "url": "https://example.com/hook", "event_types": [SUCCEEDED]} | change
    assert error_of(api.post("/v1/webhook_endpoints", body), 400)["param"].startswith(param)


def test_an_address_that_is_not_public_is_not_called(api, error_of, scope, receiver):
    made = WebhookEndpoint.objects.create(
        project=scope.project, name="in", url=receiver.url, event_types=[SUCCEEDED], created_at=NOW
    )
    error = error_of(api.post(f"/v1/webhook_endpoints/{made.public_id}/test", {"event_type": SUCCEEDED}), 400)
    assert error["code"] == "webhook_unreachable"
    assert "not public" in error["message"]
    event_record(project_id=scope.project.pk, event_type=SUCCEEDED, object_id="ftjob-1", now=NOW)
    tried = attempt(WebhookDelivery.objects.get(), NOW)
    assert "not public" in tried.last_error
    assert receiver.got == []


def test_a_dead_sender_leaves_the_attempt_to_the_next(delivery):
    """The claim is in the row before the request is made; a process that dies in between loses nothing."""
    from fettle_platform.webhooks.deliver import _claim

    assert _claim(delivery, now=NOW)
    left = WebhookDelivery.objects.get()
    assert (left.num_attempts, left.next_attempt_at) == (1, NOW + BACK_OFF[0])
    assert deliveries_start(now=NOW) == 0


@pytest.mark.parametrize(
    ("verb", "path", "body"),
    [
        ("get", "/v1/webhook_endpoints/{endpoint}", None),
        ("post", "/v1/webhook_endpoints/{endpoint}", {"name": "mine"}),
        ("delete", "/v1/webhook_endpoints/{endpoint}", None),
        ("post", "/v1/webhook_endpoints/{endpoint}/rotate_secret", {}),
        ("post", "/v1/webhook_endpoints/{endpoint}/test", {"event_type": SUCCEEDED}),
        ("get", "/v1/fettle/webhook_endpoints/{endpoint}/deliveries", None),
        ("post", "/v1/fettle/webhook_endpoints/{endpoint}/deliveries/{event}/resend", {}),
    ],
)
def test_anothers_endpoint_is_as_one_that_never_was(foreign_api, anonymous, endpoint, delivery, verb, path, body):
    path = path.format(endpoint=endpoint.public_id, event=delivery.event_id)
    assert getattr(foreign_api, verb)(path, body).status_code == 404
    assert getattr(anonymous, verb)(path, body).status_code == 401
    assert WebhookEndpoint.objects.get().name == "ours"


def test_a_list_holds_only_the_callers_own(foreign_api, endpoint):
    assert foreign_api.get("/v1/webhook_endpoints").json()["data"] == []
