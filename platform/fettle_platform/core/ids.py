"""Public ids: a prefix that tells the kind, and 24 random base62 characters (143 bits), so they cannot be guessed.

Usage in a model: `public_id = public_id_field("ftjob-")`. The integer primary key stays inside the database.
"""

from __future__ import annotations

import secrets
import string
from functools import partial

from django.db import models

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_NUM_RANDOM = 24


def random_base62(length: int) -> str:
    return "".join(secrets.choice(BASE62) for _ in range(length))


def new_id(prefix: str) -> str:
    """`new_id("file-")` -> `file-` and 24 random characters."""
    return prefix + random_base62(_NUM_RANDOM)


def public_id_field(prefix: str) -> models.CharField:
    return models.CharField(max_length=64, unique=True, editable=False, default=partial(new_id, prefix))
