"""The routes by which examples come in, in every form that Oryx's have."""

from __future__ import annotations

from flask import Blueprint, Response

from serving_layer.events.ingest import send_events
from serving_layer.http.describe import LINES, SENT, describe
from serving_layer.request.bodies import body_lines


def add_example_routes(routes: Blueprint, path: str) -> None:
    """Add ``POST path/<datum>`` for one example, and ``POST path`` for those of a body."""

    @routes.post(f"{path}/<datum>")
    @describe(reply=SENT)
    def send_example(datum: str) -> Response:
        """Send an example to learn from."""
        return send_events([datum])

    @routes.post(path)
    @describe(body=LINES, reply=SENT)
    def send_examples() -> Response:
        """Send examples to learn from; all of them, or none where one is bad."""
        return send_events(body_lines())
