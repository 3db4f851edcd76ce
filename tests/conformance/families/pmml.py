"""A document of another tool: a family that is for serving alone."""

from __future__ import annotations

from pathlib import Path

from serving_layer.apps.pmml.routes import Serving

DOCUMENTS = Path(__file__).parents[2] / "serving_layer" / "apps" / "pmml" / "documents"
DOCUMENT = (DOCUMENTS / "forest.pmml").read_bytes()

SETTINGS: dict[str, object] = {"pmml.heap": "256m"}
BAD_UPDATES = ["", "[]", '["X","u",[1.0]]']
QUERIES = ["/predict/5.1,3.5,1.4,0.2", "/predict/%5B5.9,3.2,4.8,1.8%5D", "/schema"]
UNKNOWN: list[str] = []  # there are no ids


def lines(seed: int = 1) -> list[str]:
    """No lines: nothing is learned from them."""
    return []


def state(model: Serving) -> object:
    """Return the document and what it says of a flower."""
    document = model.document
    return document.text, document.score([document.row("5.1,3.5,1.4,0.2")])
