from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from common.apps.als.payload import encode_update
from common.apps.als.pmml import read_als_pmml
from common.factors.files import write_factors
from common.replica.updates import ModelMessage, stored
from common.store.generations import StoreError
from common.wire.messages import MessageError
from serving_layer.apps.als import queries
from serving_layer.apps.als.model import Serving
from tests.serving_layer.apps.als.fixture import (
    ITEMS,
    KNOWN,
    USERS,
    Y,
    commit,
    from_files,
    from_updates,
    pmml,
    settings,
)


def x(user: str, *factors: float, known: tuple[str, ...] = (), gone: tuple[str, ...] = ()) -> str:
    return encode_update("X", user, np.array(factors), known, gone)


def y(item: str, *factors: float) -> str:
    return encode_update("Y", item, np.array(factors))


def foreign(
    users: tuple[str, ...] = (), items: tuple[str, ...] = (), features: int = 2
) -> ModelMessage:
    return ModelMessage(None, pmml(users, items, features))


def known(model: Serving, user: str) -> list[str]:
    return queries.known_items(model.view, user)


def test_a_generation_with_files_is_complete_at_once(tmp_path: Path) -> None:
    model = Serving(settings())
    assert model.fraction_loaded == 0
    model.load(stored(commit(tmp_path)))
    assert model.fraction_loaded == 1
    assert [known(model, user) for user in USERS] == [
        [ITEMS[row] for row in rows] for rows in KNOWN
    ]


def test_fraction_loaded() -> None:
    model = Serving(settings())
    model.load(foreign())
    assert model.fraction_loaded == 1
    model.load(foreign(("U",), ("I",)))
    assert model.fraction_loaded == 0
    model.apply(x("U", 1, 2))
    assert model.fraction_loaded == 0.5
    model.apply(x("U", 1, 3))
    assert model.fraction_loaded == 0.5
    model.apply(y("I", 1, 2))
    assert model.fraction_loaded == 1


def test_a_vector_set_since_the_last_model_survives_one_empty_model_and_not_two() -> None:
    model = Serving(settings())
    model.load(foreign(("U",), ("I",)))
    model.apply(y("I", 1, 2))
    model.apply(x("U", 1, 2, known=("I",)))
    model.load(foreign())
    assert (list(model.view.users.ids), list(model.view.items.matrix.ids)) == (["U"], ["I"])
    assert known(model, "U") == ["I"]
    assert model.fraction_loaded == 1
    model.load(foreign())
    assert (len(model.view.users), len(model.view.items.matrix)) == (0, 0)
    assert known(model, "U") == []


def test_ids_that_a_further_model_names_keep_vectors_and_known_items(tmp_path: Path) -> None:
    model = from_updates(tmp_path)
    model.load(foreign(("U0", "U1", "U2", "new"), ("I7", "I4", "I0")))
    assert model.fraction_loaded < 1
    model.load(foreign(("U2", "U0", "new"), ("I7", "I4", "new")))
    view = model.view
    assert list(view.users.ids) == ["U0", "U2"]
    assert list(view.items.matrix.ids) == ["I4", "I7"]
    assert (known(model, "U0"), known(model, "U2")) == (["I4", "I7"], ["I7"])
    assert view.items.matrix.get("I7").tolist() == np.array(Y[7], np.float32).tolist()  # type: ignore[union-attr]
    assert model.fraction_loaded == 4 / 6


def test_a_request_keeps_the_view_that_it_started_with(tmp_path: Path) -> None:
    model = from_updates(tmp_path)
    view = model.view
    before = queries.popular_items(view, queries.Wanted())
    model.load(foreign())
    model.load(foreign())
    assert queries.popular_items(view, queries.Wanted()) == before
    assert len(before) == 9
    assert queries.popular_items(model.view, queries.Wanted()) == []


def test_another_number_of_features_starts_empty(tmp_path: Path) -> None:
    model = from_updates(tmp_path)
    model.load(foreign(tuple(USERS), tuple(ITEMS), features=3))
    assert model.fraction_loaded == 0
    model.apply(y("I0", 1, 2, 3))
    assert model.view.items.matrix.vectors.tolist() == [[1, 2, 3]]


def test_known_items_are_united_and_removed(tmp_path: Path) -> None:
    model = from_files(tmp_path)
    model.apply(x("U0", 1, 1, known=("I1", "I4")))
    assert known(model, "U0") == ["I0", "I1", "I4", "I7"]
    model.apply(x("U0", 1, 1, known=("I2",), gone=("I0", "I4", "nothing")))
    assert known(model, "U0") == ["I1", "I2", "I7"]
    model.apply(x("new", 1, 1, known=("I1",)))
    assert known(model, "new") == ["I1"]
    counts = dict(queries.popular_items(model.view, queries.Wanted()))
    assert (counts["I0"], counts["I1"], counts["I4"]) == (1, 5, 3)


def test_an_item_is_known_once_it_has_a_vector(tmp_path: Path) -> None:
    model = from_files(tmp_path)
    model.apply(x("U0", 1, 1, known=("later", "never")))
    model.apply(x("U3", 1, 1, known=("later", "never")))
    model.apply(x("U3", 1, 1, gone=("later",)))
    assert known(model, "U0") == ["I0", "I4", "I7"]
    model.apply(y("later", 1, 1))
    assert known(model, "U0") == ["I0", "I4", "I7", "later"]
    assert known(model, "U3") == ["I3", "I6", "I8"]


def test_waiting_known_items_survive_a_further_model() -> None:
    model = Serving(settings())
    model.load(foreign(("gone",), ()))
    model.apply(x("gone", 1, 2, known=("I",)))
    model.apply(x("stays", 1, 2, known=("I",)))
    model.load(foreign(("stays",), ("I",)))
    model.load(foreign(("stays",), ("I",)))
    model.apply(y("I", 1, 2))
    assert known(model, "stays") == ["I"]
    assert queries.popular_items(model.view, queries.Wanted()) == [("I", 1)]


def test_an_items_list_of_users_means_nothing(tmp_path: Path) -> None:
    model = from_files(tmp_path)
    model.apply(encode_update("Y", "I0", np.array([1.0, 2.0]), ["U1"]))
    assert "I0" not in known(model, "U1")


@pytest.mark.parametrize("load", [from_files, from_updates])
def test_no_known_items(load: object, tmp_path: Path) -> None:
    model = load(tmp_path, als__no_known_items=True)  # type: ignore[operator]
    model.apply(x("U0", 1, 1, known=("I1",), gone=("I4",)))
    assert known(model, "U0") == []
    person = queries.together(model.view, ["U0"])
    assert len(queries.recommended(model.view, person, queries.Wanted())) == 9


@pytest.mark.parametrize(
    "update",
    ["", "[]", '["Z","a",[1,2]]', '["X","U0",[1]]', '["Y","I0",[1,2,3]]', '["X","U0",[1,null]]'],
)
def test_a_bad_update_is_refused_and_changes_nothing(update: str, tmp_path: Path) -> None:
    model = from_files(tmp_path)
    before = model.view.users.vectors.copy(), model.view.items.matrix.vectors.copy()
    with pytest.raises(MessageError, match="ALS update"):
        model.apply(update)
    assert (model.view.users.vectors == before[0]).all()
    assert (model.view.items.matrix.vectors == before[1]).all()


def test_many_updates_are_those_one_by_one(tmp_path: Path) -> None:
    updates = [
        x("U0", 1, 2, known=("later",)),
        y("I1", 5, 6),
        x("U0", 3, 4, gone=("I4",)),
        "[]",
        y("I1", 7, 8),
        y("later", 1, 1),
        y("I2", 1, 2, 3),
        x("new", 9, 9, known=("I1",)),
    ]
    many, single = from_files(tmp_path / "many"), from_files(tmp_path / "single")
    refused = many.apply_many(updates)
    assert ["three to five" in str(refused[0]), "3 factors" in str(refused[1])] == [True, True]
    for update in updates:
        if update not in ("[]", y("I2", 1, 2, 3)):
            single.apply(update)
    assert (many.view.users.vectors == single.view.users.vectors).all()
    assert (many.view.items.matrix.vectors == single.view.items.matrix.vectors).all()
    assert "later" in known(many, "U0")
    assert "I4" not in known(many, "U0")
    for user in ("U0", "new"):
        assert known(many, user) == known(single, user) != []


def test_an_update_before_any_model_is_refused() -> None:
    with pytest.raises(MessageError, match="no ALS model"):
        Serving(settings()).apply(x("U", 1, 2))


def test_a_bad_model_is_refused_and_the_one_before_stays(tmp_path: Path) -> None:
    model = from_files(tmp_path)
    view = model.view
    with pytest.raises(MessageError, match="generation None"):
        model.load(ModelMessage(None, "<PMML/>"))
    assert model.view is view


def test_files_that_do_not_fit_the_model_are_refused(tmp_path: Path) -> None:
    model = Serving(settings())
    with pytest.raises(StoreError, match=r"generation 1000: .*shape"):
        model.load(stored(commit(tmp_path / "a", pmml(features=3))))
    with pytest.raises(StoreError, match="known item row 9"):
        model.load(stored(commit(tmp_path / "b", known=[[0], [9], [], [], [], [], []])))
    assert model.fraction_loaded == 0


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    generation = commit(tmp_path)
    write_factors(generation.path("item_factors.safetensors"), ["I"], np.ones((1, 2), np.float32))
    with pytest.raises(StoreError, match="damaged"):
        Serving(settings()).load(stored(generation))


def test_the_pmml_names_what_the_model_holds_now(tmp_path: Path) -> None:
    model = from_files(tmp_path)
    model.apply(x("new user", 1, 2))
    model.apply(y('new "item"', 1, 2))
    found = read_als_pmml(model.to_pmml())
    assert list(found.user_ids) == [*USERS, "new user"]
    assert list(found.item_ids) == [*ITEMS, 'new "item"']
    assert (found.features, found.implicit, found.alpha, found.timestamp) == (2, True, 1, 1_000_000)


@pytest.mark.slow
def test_many_ask_while_one_writes(tmp_path: Path) -> None:
    model = from_files(tmp_path)
    stop = threading.Event()
    asked: list[int] = []

    def ask() -> None:
        count = 0
        while not (stop.is_set() and count):
            person = queries.together(model.view, ["U0"])
            rows = queries.recommended(model.view, person, queries.Wanted(5))
            assert len(rows) == 5
            queries.popular_items(model.view, queries.Wanted())
            assert queries.folded_in(model.view, [("I1", 1.0)]) is not None
            count += 1
        asked.append(count)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(2000):
        model.apply(y(f"new-{number}", 0.1, number / 1000))
        model.apply(x("U0", 1, 1, known=(f"new-{number // 2}",)))
    stop.set()
    for thread in threads:
        thread.join(60)
    assert len(asked) == 3
    assert min(asked) > 0
    assert len(model.view.items.matrix) == 2009
    assert len(known(model, "U0")) == 1003
