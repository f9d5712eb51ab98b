"""Every draw of a job is named, and its seed is a hash of the name: nothing depends on what was drawn before it.

That is why a resumed run redraws exactly what an unbroken one draws, and why two checkpoints answer an evaluation row
with the same random numbers.
"""

from __future__ import annotations

import hashlib


def stable_seed(*name: int | str) -> int:
    """63-bit seed of a draw, equal on every machine and Python version.

    Args:
        name: job seed, purpose, then what tells this draw from others of the purpose (step, row, sample, ...).
    """
    text = "\0".join(str(part) for part in name)
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "big") >> 1
