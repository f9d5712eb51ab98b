"""Calls to addresses that a user wrote (`client`) and to judges that an operator allowed, for both planes."""

from fettle_workers.egress.client import (
    Answer,
    Egress,
    EgressError,
    EgressFailed,
    EgressRefused,
    EgressTimeout,
    Network,
    parse_networks,
)

__all__ = [
    "Answer",
    "Egress",
    "EgressError",
    "EgressFailed",
    "EgressRefused",
    "EgressTimeout",
    "Network",
    "parse_networks",
]
