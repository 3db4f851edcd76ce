"""Sample events of ALS: four groups of users, each with its own items."""

from __future__ import annotations

import random

from common.factors.known_items import KnownItems
from serving_layer.apps.als.routes import Serving

SETTINGS: dict[str, object] = {
    "als.hyperparams.features": 4,
    "als.hyperparams.lambda": 0.01,
    "ml.eval.test_fraction": 0,
}
BAD_LINES = ["", "u1", ",i1,1", "u1,i1,much", 'u1,"i1']
BAD_UPDATES = ["", "[]", '["Z","u",[1.0]]', '["X","u",[1.0]]', '["X","u",["a","b","c","d"]]']
QUERIES = [
    "/recommend/u1",
    "/recommendToMany/u1/u2",
    "/recommendToAnonymous/i1=2/i5",
    "/similarity/i1",
    "/because/u1/i5",
    "/mostSurprising/u1",
    "/mostPopularItems",
    "/mostActiveUsers",
]
UNKNOWN = ["/recommend/nobody", "/similarity/nothing", "/estimate/nobody/i1"]
WRITES = [("POST", "/pref/u1/i1"), ("DELETE", "/pref/u1/i1"), ("POST", "/ingest")]
#: Least share of pairs that two models must order alike.
AGREEMENT = 0.95


def lines(seed: int = 1) -> list[str]:
    """Events in time order; the users' groups show in what they like."""
    draw = random.Random(seed)
    found = []
    for number in range(900):
        user = draw.randrange(60)
        item = draw.randrange(10) * 4 + user % 4 if draw.random() < 0.95 else draw.randrange(40)
        found.append(f"u{user},i{item},1,{1_000_000 + number}")
    return found


def state(model: Serving) -> object:
    """Everything that the model holds, to compare replays exactly."""
    view = model.view
    known: KnownItems = view.known
    return (
        list(view.users.ids),
        view.users.vectors.tolist(),
        list(view.items.matrix.ids),
        view.items.matrix.vectors.tolist(),
        [sorted(known.of(row).tolist()) for row in range(len(view.users))],
    )


def predictions(model: Serving) -> dict[str, float]:
    """Estimated strength of each pair of user and item."""
    view = model.view
    users, items = view.users, view.items.matrix
    scores = users.vectors @ items.vectors.T
    return {
        f"{user}|{item}": float(scores[row, column])
        for row, user in enumerate(users.ids)
        for column, item in enumerate(items.ids)
    }


def agreement(expected: dict[str, float], found: dict[str, float]) -> float:
    """Share of (user, item, other item) triples in which both models prefer the same item."""
    assert expected.keys() == found.keys()
    draw = random.Random(7)
    users = sorted({pair.split("|")[0] for pair in expected})
    items = sorted({pair.split("|")[1] for pair in expected})
    alike = total = 0
    for user in users:
        for _ in range(100):
            one, other = (f"{user}|{item}" for item in draw.sample(items, 2))
            if abs(expected[one] - expected[other]) < 0.3:
                continue  # the model itself hardly tells them apart
            total += 1
            alike += (expected[one] > expected[other]) == (found[one] > found[other])
    assert total > 1000
    return alike / total
