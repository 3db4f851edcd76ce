"""Word count in the serving layer: the smallest family, and the pattern for others."""

from flask import Blueprint, Response

from common.apps.wordcount import read_model, read_update
from common.config import Settings
from common.replica.updates import ModelMessage
from serving_layer import routes as http
from serving_layer.api import ServingModel


class Serving(ServingModel):
    """For each word how many distinct other words share a line with it."""

    fraction_loaded = 1.0

    def __init__(self, settings: Settings) -> None:
        self.counts: dict[str, int] = {}

    def load(self, model: ModelMessage) -> None:
        """Take over a model's counts; raises MessageError if they cannot be read."""
        self.counts = read_model(model.text)

    def apply(self, update: str) -> None:
        """Take over one word's count; raises MessageError if the payload cannot be read."""
        word, self.counts[word], _ = read_update(update)


def blueprint(settings: Settings) -> Blueprint:
    """Return the routes; ``/distinct/<word>`` answers 400 to an unknown one (Oryx's rule)."""
    routes = Blueprint("wordcount", __name__)

    @routes.post("/add")
    @routes.post("/add/<line>")
    @http.describe(body=http.Body(http.LINES, required=False), reply=http.SENT)
    def add(line: str | None = None) -> Response:
        """Add a line of words, the path's, or the body's lines."""
        return http.send_events(http.body_lines() if line is None else [line])

    @routes.get("/distinct")
    @http.describe(reply=http.MAP)
    def distinct() -> Response:
        """List all words with their counts."""
        return http.respond_map(http.model(Serving).counts.copy())  # words come meanwhile

    @routes.get("/distinct/<word>")
    @http.describe(reply=http.NUMBER, quick=True)
    def count(word: str) -> Response:
        """Count the distinct other words that share a line with a word."""
        if word not in (counts := http.model(Serving).counts):
            raise http.ApiError(400, "unknown_word", "No such word")
        return http.respond_value(counts[word])

    return routes
