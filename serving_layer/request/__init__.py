"""One request: its model, parameters, body, idempotency key, and what is counted of it."""
