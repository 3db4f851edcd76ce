"""Hit rates: both models by the same rules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from common.apps.als.pmml import AlsModel, write_als_pmml
from common.factors.files import write_factors
from common.store.generations import Manifest, ModelStore
from demo.scoreboard import PAGE, FrozenModel, Rates, Scoreboard
from tests.demo.fakes import frozen_model, rating

ITEMS = [f"i{number:02}" for number in range(30)]


def test_rates_by_part_of_the_events() -> None:
    board = Scoreboard()
    for number in range(10):
        item = f"i{number}"
        board.add(item, [item] if number < 2 else [], [item] if number >= 4 else [], number % 2 > 0)
    assert len(board) == 10
    assert board.rates() == Rates(0.2, 0.6)
    assert board.fifths() == (Rates(1.0, 0.0), Rates(0.0, 1.0))
    assert board.newcomers() == Rates(0.2, 0.6)
    assert list(board.windows(5)) == [(5, Rates(0.4, 0.2)), (10, Rates(0.0, 1.0))]


def test_no_events_have_no_rates() -> None:
    board = Scoreboard()
    assert board.rates() is None
    assert board.newcomers() is None
    assert board.fifths() == (None, None)
    assert list(board.windows(5)) == []


def test_the_frozen_model_offers_the_best_items_that_the_user_has_not_had() -> None:
    model = frozen_model([rating("a", item) for item in ITEMS] + [rating("b", "i29")])
    assert model.recommend("b") == ITEMS[28:18:-1]
    model.saw(rating("b", "i27"))
    assert model.recommend("b") == ["i28", *ITEMS[26:17:-1]]
    # All items had: nothing is left to offer.
    assert model.recommend("a") == []


def test_an_unknown_user_gets_what_is_popular() -> None:
    past = [rating(user, item) for user, items in (("a", 3), ("b", 2)) for item in ITEMS[:items]]
    model = frozen_model(past)
    assert not model.knows_user("new")
    assert model.recommend("new") == ["i00", "i01", "i02"]
    model.saw(rating("new", "i01"))
    assert model.recommend("new") == ["i00", "i02"]
    # What is popular is so by the past alone.
    for user in "cdefg":
        model.saw(rating(user, "i02"))
    assert model.popular("other") == ["i00", "i01", "i02"]


def test_the_other_model_may_not_offer_what_the_user_has_had_either() -> None:
    model = frozen_model([rating("a", item) for item in ITEMS[:2]])
    assert model.unseen("a", ITEMS) == ITEMS[2 : 2 + PAGE]


def test_a_generation_is_read_from_its_files(tmp_path: Path) -> None:
    store = ModelStore(str(tmp_path))
    folder = store.new(5)
    vectors = np.eye(2, dtype=np.float32)
    for side in ("user", "item"):
        write_factors(folder / f"{side}_factors.safetensors", [f"{side}1", f"{side}2"], vectors)
    pmml = AlsModel(
        features=2,
        implicit=True,
        regularization=0.1,
        user_ids=["user1", "user2"],
        item_ids=["item1", "item2"],
    )
    (folder / "model.pmml").write_bytes(write_als_pmml(pmml))
    generation = store.commit(folder, Manifest(5, "als", "model.pmml", {}, "topic", {0: 1}))
    model = FrozenModel.of(generation, [])
    assert model.knows_item("item2")
    assert model.recommend("user1") == ["item1", "item2"]


@pytest.mark.parametrize("n_items", [1, 9, 10, 11])
def test_few_items_are_no_trouble(n_items: int) -> None:
    past = [rating("a", item) for item in ITEMS[:n_items]]
    model = frozen_model([*past[:1], *(rating("b", one.item) for one in past)])
    assert len(model.recommend("a")) == min(n_items - 1, PAGE)
