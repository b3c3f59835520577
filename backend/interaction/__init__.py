"""Intake: deliveries, interactions, idempotency."""
