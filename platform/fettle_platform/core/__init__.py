"""Ids, errors, pages, idempotency, storage: what every app of the control plane uses."""
