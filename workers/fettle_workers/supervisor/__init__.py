"""The supervisor of one training attempt: holds the lease, moves the bytes, relays the events, ends the trainer."""
