"""Sending, and sending again: an event arrives at least once, or is given up after three days of attempts."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from django.conf import settings
from django.db import close_old_connections, connection
from django.db.models import F
from django.utils import timezone

from fettle_platform.webhooks.models import WebhookDelivery, WebhookEndpoint
from fettle_platform.webhooks.signing import active_secrets, signed_headers
from fettle_workers.egress import Answer, Egress, EgressError

log = logging.getLogger(__name__)

TIMEOUT_S = 10.0
# Waits before the second, third, ... attempt; after the last one the event is given up. Three days in all.
BACK_OFF = tuple(
    timedelta(seconds=seconds) for seconds in (5, 60, 300, 1800, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 36 * 3600)
)
KEPT = timedelta(days=30)
_AT_ONCE = 4
_senders = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="webhook")


def deliveries_start(*, now: datetime) -> int:
    """Begin to send what is due, in threads of their own: a slow receiver must not hold up the caller.

    The next attempt is put into the row before this one is made. So of two processes only one sends it, and one that
    dies leaves it to be sent again.
    """
    due = WebhookDelivery.objects.filter(next_attempt_at__lte=now).order_by("next_attempt_at")
    num_started = 0
    for delivery in due[: 8 * _AT_ONCE]:
        if _claim(delivery, now=now):
            _senders.submit(_deliver_in_thread, delivery.pk)
            num_started += 1
    return num_started


def deliveries_expire(*, now: datetime) -> int:
    """Forget the log of what was sent long ago; returns how many."""
    old = WebhookDelivery.objects.filter(next_attempt_at=None, created_at__lt=now - KEPT)
    return old.delete()[0]


def deliver(delivery: WebhookDelivery) -> None:
    """Make one attempt and note how it went. The caller holds the claim."""
    try:
        answer = send(delivery, now=timezone.now())
    except EgressError as error:
        _note_failure(delivery, status=None, error=str(error))
        return
    if 200 <= answer.status < 300:
        WebhookDelivery.objects.filter(pk=delivery.pk).update(
            delivered_at=timezone.now(), next_attempt_at=None, last_status=answer.status, last_error=""
        )
    else:
        _note_failure(delivery, status=answer.status, error=f"HTTP {answer.status}")


def send(delivery: WebhookDelivery, *, now: datetime) -> Answer:
    """POST one signed event; writes nothing.

    Raises:
        EgressError: no answer, or an address that must not be called.
    """
    event = {
        "id": delivery.event_id,
        "object": "event",
        "created_at": int(delivery.created_at.timestamp()),
        "type": delivery.event_type,
        "data": {"id": delivery.object_id},
    }
    body = json.dumps(event, separators=(",", ":")).encode()
    secrets = active_secrets(delivery.endpoint, now=now)
    headers = signed_headers(secrets, event_id=delivery.event_id, timestamp=int(now.timestamp()), body=body)
    egress = Egress(allowed=settings.FETTLE.egress_networks, timeout_s=TIMEOUT_S)
    return egress.post(delivery.endpoint.url, headers={**headers, "Content-Type": "application/json"}, body=body)


def _claim(delivery: WebhookDelivery, *, now: datetime) -> bool:
    number = delivery.num_attempts
    following = now + BACK_OFF[number] if number < len(BACK_OFF) else None
    # A last attempt that is cut off leaves no further one; its row then says that it never arrived.
    claimed = WebhookDelivery.objects.filter(pk=delivery.pk, num_attempts=number, next_attempt_at__lte=now)
    return bool(claimed.update(num_attempts=F("num_attempts") + 1, next_attempt_at=following))


def _deliver_in_thread(pk: int) -> None:
    close_old_connections()
    try:
        delivery = WebhookDelivery.objects.select_related("endpoint").filter(pk=pk).first()
        if delivery is not None:  # its endpoint may have been deleted meanwhile
            deliver(delivery)
    except Exception:  # nobody waits for this thread; the next attempt is in the row
        log.exception("webhook delivery %s failed", pk)
    finally:
        connection.close()


def _note_failure(delivery: WebhookDelivery, *, status: int | None, error: str) -> None:
    WebhookDelivery.objects.filter(pk=delivery.pk).update(last_status=status, last_error=error[:500])
    log.info("webhook %s: attempt %s failed: %s", delivery.event_id, delivery.num_attempts, error)
    if delivery.next_attempt_at is None and not _arrived_since(delivery):
        WebhookEndpoint.objects.filter(pk=delivery.endpoint_id, disabled_at=None).update(disabled_at=timezone.now())


def _arrived_since(delivery: WebhookDelivery) -> bool:
    """Whether anything reached the endpoint while this event did not."""
    same = WebhookDelivery.objects.filter(endpoint_id=delivery.endpoint_id)
    return same.filter(delivered_at__gte=delivery.created_at).exists()
