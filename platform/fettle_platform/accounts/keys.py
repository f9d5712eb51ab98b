"""The text of API keys: `fk_<8 base62>_<43 base62>_<6 base62 checksum>`.

The prefix lets an operator find a key without knowing it, the checksum lets secret scanners tell keys from noise. A key
has 256 random bits, so a fast digest is enough; a slow one would let anybody tie up the server with wrong keys.
"""

from __future__ import annotations

import hashlib
import hmac
import zlib

from django.conf import settings

from fettle_platform.core.ids import BASE62, random_base62


def new_key() -> str:
    body = f"fk_{random_base62(8)}_{random_base62(43)}"
    return f"{body}_{checksum(body)}"


def checksum(body: str) -> str:
    """CRC-32 of everything before the last underscore, as six base62 digits."""
    number = zlib.crc32(body.encode())
    digits = []
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits.append(BASE62[digit])
    return "".join(reversed(digits))


def prefix_of(key: str) -> str:
    return key.removeprefix("fk_")[:8]


def digest_of(key: str) -> str:
    """HMAC-SHA-256 of the key under a pepper derived from the server's secret, as hex."""
    pepper = hashlib.sha256(b"fettle api keys\0" + settings.FETTLE.resolved_secret_key().encode()).digest()
    return hmac.new(pepper, key.encode(), hashlib.sha256).hexdigest()
