"""Word count in the serving layer: the smallest family, and the pattern for others."""

from flask import Blueprint, Response

from common.apps.wordcount import read_model, read_update
from common.config import Settings
from common.updates import ModelMessage
from serving_layer.http import ApiError, body_lines, model, respond_map, respond_value, send_events


class Serving:
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

    def to_pmml(self) -> bytes:
        """Raise 404: PMML has no model of this kind."""
        raise ApiError(404, "no_pmml", "a word count has no PMML form; see GET /distinct")


def blueprint(settings: Settings) -> Blueprint:
    """Return the routes; ``/distinct/<word>`` answers 400 to an unknown one (Oryx's rule)."""
    routes = Blueprint("wordcount", __name__)
    routes.add_url_rule("/add/<line>", "line", lambda line: send_events([line]), methods=["POST"])
    routes.add_url_rule("/add", "lines", lambda: send_events(body_lines()), methods=["POST"])
    # A copy in one step: the consumer may add a word meanwhile.
    routes.add_url_rule("/distinct", "all", lambda: respond_map(model(Serving).counts.copy()))
    routes.add_url_rule("/distinct/<word>", "word", _count)
    return routes


def _count(word: str) -> Response:
    if word not in (counts := model(Serving).counts):
        raise ApiError(400, "unknown_word", "No such word")
    return respond_value(counts[word])
