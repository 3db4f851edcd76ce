"""Sample events of the word count."""

from __future__ import annotations

import random

from serving_layer.apps.wordcount import Serving

SETTINGS: dict[str, object] = {}
BAD_LINES = ["", "   "]
BAD_UPDATES = ["", "word", "word,many", 'word,"1']
QUERIES = ["/distinct"]
UNKNOWN: list[str] = []  # an unknown word is 400, as in Oryx
WRITES = [("POST", "/add/a%20b"), ("POST", "/add")]
AGREEMENT = 1.0

_WORDS = "the quick brown fox jumps over a lazy dog while nine wizards vex judges"


def lines(seed: int = 1) -> list[str]:
    """Lines of a few words."""
    draw = random.Random(seed)
    return [" ".join(draw.sample(_WORDS.split(), draw.randint(1, 3))) for _ in range(40)]


def state(model: Serving) -> object:
    """Return all counts."""
    return dict(model.counts)


def predictions(model: Serving) -> dict[str, float]:
    """Return all counts."""
    return {word: float(count) for word, count in model.counts.items()}


def agreement(expected: dict[str, float], found: dict[str, float]) -> float:
    """Share of the words whose counts are equal."""
    assert expected
    return sum(found.get(word) == count for word, count in expected.items()) / len(expected)
