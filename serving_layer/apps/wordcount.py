"""Word count in the serving layer: the smallest family, and the pattern for others."""

from __future__ import annotations

from flask import Blueprint, Response

from common.apps.wordcount import read_counts, read_update
from common.config import Settings
from common.updates import ModelMessage
from serving_layer.http import (
    ApiError,
    Form,
    body_lines,
    model,
    respond_map,
    respond_value,
    send_events,
)


class Serving:
    """For each word how many distinct other words share a line with it."""

    def __init__(self, settings: Settings) -> None:
        self.counts: dict[str, int] = {}

    @property
    def fraction_loaded(self) -> float:
        """Always 1: the model comes whole."""
        return 1.0

    def load(self, model: ModelMessage) -> None:
        """Take over a model's counts; raises MessageError if they cannot be read."""
        self.counts = read_counts(model.text)

    def apply(self, update: str) -> None:
        """Take over one word's count; raises MessageError if the payload cannot be read."""
        word, self.counts[word], _ = read_update(update)

    def to_pmml(self) -> bytes:
        """Raise 404: PMML has no model of this kind."""
        message = "a word count has no PMML form; GET /distinct returns all of it"
        raise ApiError(404, "no_pmml", message)


def blueprint(settings: Settings) -> Blueprint:
    """Return the word count's routes."""
    routes = Blueprint("wordcount", __name__)
    routes.add_url_rule("/add/<line>", view_func=add_line, methods=["POST"])
    routes.add_url_rule("/add", view_func=add_lines, methods=["POST"])
    routes.add_url_rule("/distinct", view_func=distinct)
    routes.add_url_rule("/distinct/<word>", view_func=distinct_word)
    return routes


def console() -> list[Form]:
    """Return the console's rows."""
    return [
        Form("Count of one word", "/distinct/{word}"),
        Form("All counts", "/distinct"),
        Form("Add a line", "/add/{line}", method="POST"),
        Form("Add lines", "/add", method="POST", body="one line of words\nanother", upload=True),
    ]


def add_line(line: str) -> Response:
    """Send one line to the input topic."""
    return send_events([line])


def add_lines() -> Response:
    """Send the body's lines to the input topic."""
    return send_events(body_lines())


def distinct() -> Response:
    """Reply with all words and counts."""
    # A copy in one step: the consumer may add a word meanwhile.
    return respond_map(model(Serving).counts.copy())


def distinct_word(word: str) -> Response:
    """Reply with one word's count; 400 if there is no such word (Oryx's rule)."""
    count = model(Serving).counts.get(word)
    if count is None:
        raise ApiError(400, "unknown_word", "No such word")
    return respond_value(count)
