"""Signatures of Standard Webhooks (standardwebhooks.com), which the official client checks with `webhooks.unwrap`."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime

from django.conf import settings

from fettle_platform.webhooks.models import WebhookEndpoint

_PREFIX = "whsec_"


def secret_of(endpoint: WebhookEndpoint, *, version: int | None = None) -> str:
    """`whsec_` and 32 bytes in base64. Whoever knows the server's key can make it again, nobody else."""
    label = f"webhook:{endpoint.public_id}:{version or endpoint.secret_version}"
    key = hmac.digest(str(settings.SECRET_KEY).encode(), label.encode(), hashlib.sha256)
    return _PREFIX + base64.b64encode(key).decode()


def active_secrets(endpoint: WebhookEndpoint, *, now: datetime) -> list[str]:
    """The secret, and after a rotation that asked for it the one before for a day."""
    secrets = [secret_of(endpoint)]
    if endpoint.previous_secret_until is not None and endpoint.previous_secret_until > now:
        secrets.append(secret_of(endpoint, version=endpoint.secret_version - 1))
    return secrets


def signed_headers(secrets: Iterable[str], *, event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """HMAC-SHA-256 over `id.timestamp.body`, one signature a secret.

    Args:
        timestamp: seconds since 1970; receivers refuse what is older than five minutes.
    """
    message = f"{event_id}.{timestamp}.".encode() + body
    signatures = (
        hmac.digest(base64.b64decode(secret.removeprefix(_PREFIX)), message, hashlib.sha256) for secret in secrets
    )
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(each).decode()}" for each in signatures),
    }
