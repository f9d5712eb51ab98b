"""Signed messages to a user's own address when something ended: endpoints, deliveries, retries."""
