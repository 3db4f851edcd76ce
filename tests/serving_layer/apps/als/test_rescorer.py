from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from common.config import ConfigError
from serving_layer.apps.als.rescorer import Rescorer, RescorerProvider, chain, load_providers
from tests.serving_layer.apps.als.fixture import (
    NAME,
    EvenOut,
    OddOut,
    Served,
    from_files,
    serve,
)

ODD = NAME.replace("EvenOutProvider", "OddOutProvider")


class PlusOne(Rescorer):
    def rescore(self, id: str, score: float) -> float:
        return score + 1


class Lift(Rescorer):
    """Lifts one item to the top, and drops all that score below zero."""

    def rescore(self, id: str, score: float) -> float:
        return 100.0 if id == "I3" else score if score > 0 else math.nan


class LiftProvider(RescorerProvider):
    args: ClassVar[list[tuple[list[str], list[str]]]] = []

    def recommend(self, user_ids: Sequence[str], args: Sequence[str]) -> Rescorer | None:
        self.args.append((list(user_ids), list(args)))
        return Lift()


LIFT = f"{__name__}.LiftProvider"


def test_none_is_left_out_and_one_alone_is_itself() -> None:
    one = EvenOut()
    assert chain([]) is None
    assert chain([None, None]) is None
    assert chain([None, one, None]) is one


def test_several_filter_together_and_pipe_their_scores() -> None:
    both = chain([EvenOut(), PlusOne(), EvenOut()])
    assert both is not None
    assert both.rescore("I1", 3.0) == 14.0
    assert both.is_filtered("I2")
    assert not both.is_filtered("I1")
    scores = both.rescore_all(["I1", "I2", "I3"], np.array([3.0, 4.0, 5.0]))
    assert scores[[0, 2]].tolist() == [14.0, 22.0]
    assert np.isnan(scores[1])


def test_a_filter_is_known_as_such() -> None:
    assert OddOut().only_filters
    assert not EvenOut().only_filters
    filters, mixed = chain([OddOut(), OddOut()]), chain([OddOut(), PlusOne()])
    assert filters is not None
    assert mixed is not None
    assert filters.only_filters
    assert not mixed.only_filters


@pytest.mark.parametrize(
    "names", [f"{NAME},{ODD}", f" {NAME} , {ODD} ", [NAME, ODD], [f"{NAME},{ODD}"]]
)
def test_providers_are_chained(names: str | list[str]) -> None:
    providers = load_providers(names)
    assert providers.most_similar_items([]) is None
    assert type(providers.most_similar_items(["x"])).__name__ == "EvenOut"
    both = providers.recommend(["U0"], ["x"])
    assert both is not None
    assert both.is_filtered("I1")
    assert both.is_filtered("I2")
    for found in (
        providers.recommend_to_anonymous(["I0"], ["x"]),
        providers.most_popular_items(["x"]),
        providers.most_active_users(["x"]),
    ):
        assert type(found).__name__ == "EvenOut"


def test_no_class_is_no_rescorer() -> None:
    provider = load_providers(None)
    assert provider.recommend(["U0"], ["x"]) is None
    assert provider.recommend_to_anonymous(["I0"], ["x"]) is None
    assert provider.most_similar_items(["x"]) is None
    assert provider.most_popular_items(["x"]) is None
    assert provider.most_active_users(["x"]) is None


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Shop", "dotted name"),
        ("no.such.module.Shop", "No module"),
        ("serving_layer.apps.als.rescorer.Nothing", "Nothing"),
        ("serving_layer.apps.als.rescorer.Rescorer", "does not extend"),
        ("serving_layer.apps.als.rescorer._ProviderChain", "without arguments"),
        (f"{NAME},", "dotted name"),
    ],
)
def test_a_bad_class_is_named_with_its_key(name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=rf"als\.rescorer_provider_class.*{why}"):
        load_providers(name)


def test_a_bad_class_stops_the_application(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="rescorer_provider_class"):
        serve(from_files(tmp_path), als__rescorer_provider_class="no.such.Shop")


def test_a_score_may_be_lifted_to_the_top_or_dropped(tmp_path: Path) -> None:
    als = serve(from_files(tmp_path), als__rescorer_provider_class=LIFT)
    plain = serve(from_files(tmp_path / "plain")).rows("/recommend/U0")
    rows = als.rows("/recommend/U0?howMany=2&rescorerParams=a,b&rescorerParams=c")
    assert rows == [("I3", 100.0), plain[0]]
    assert LiftProvider.args[-1] == (["U0"], ["a,b", "c"])
    assert len(als.rows("/recommend/U0")) == 1 + sum(value > 0 for _, value in plain)


def test_a_filter_never_empties_a_page(tmp_path: Path) -> None:
    als = serve(from_files(tmp_path), als__rescorer_provider_class=ODD)
    assert_even(als, "/recommend/U0?howMany=1", 1)
    assert_even(als, "/recommend/U0?howMany=2&offset=1", 2)
    assert_even(als, "/recommend/U0", 3)


def assert_even(als: Served, path: str, count: int) -> None:
    rows = als.rows(path)
    assert len(rows) == count
    assert all(int(id[-1]) % 2 == 0 for id, _ in rows)
