"""The parts of a request: model, body, idempotency key, metrics; routes import from here."""
