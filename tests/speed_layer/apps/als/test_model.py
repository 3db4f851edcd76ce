import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from common.apps.als import Lines
from common.apps.als.fold_in import updated_vectors
from common.apps.als.payload import FactorUpdate, decode_update, encode_update
from common.apps.als.pmml import AlsModel, write_als_pmml
from common.factors.files import ITEM_FACTORS, USER_FACTORS, write_factors
from common.factors.matrix import gramian
from common.factors.retention import fraction_loaded
from common.factors.solver import Solver
from common.replica.updates import ModelMessage
from common.runtime.configuration import load
from common.store.generations import Manifest, ModelStore, StoreError
from common.wire.messages import MessageError
from speed_layer.api import Events
from speed_layer.apps.als.model import Speed
from speed_layer.apps.als.sides import FactorSide
from tests.micro_batches import micro_batch

USERS = np.random.default_rng(1).normal(0, 0.5, (6, 3)).astype(np.float32)
ITEMS = np.random.default_rng(2).normal(0, 0.5, (5, 3)).astype(np.float32)
USER_IDS = [f"u{n}" for n in range(6)]
ITEM_IDS = [f"i{n}" for n in range(5)]

Load = Callable[..., Speed]


def pmml(**changes: object) -> str:
    values: dict[str, object] = {
        "features": 3,
        "implicit": True,
        "regularization": 0.001,
        "user_ids": [],
        "item_ids": [],
    }
    return write_als_pmml(AlsModel(**{**values, **changes})).decode()  # type: ignore[arg-type]


def store(folder: Path, text: str, users: np.ndarray = USERS) -> ModelMessage:
    models = ModelStore(str(folder))
    aside = models.new(7)
    (aside / "model.pmml").write_text(text)
    write_factors(aside / USER_FACTORS, USER_IDS[: len(users)], users)
    write_factors(aside / ITEM_FACTORS, ITEM_IDS, ITEMS)
    files = models.commit(aside, Manifest(7, "als", "model.pmml", {}, "topic", {}))
    return ModelMessage(7, text, files)


@pytest.fixture
def speed(tmp_path: Path) -> Speed:
    model = Speed(load())
    model.load(store(tmp_path, pmml()))
    return model


def events(*lines: str) -> Events:
    return micro_batch(Lines(load()), lines)


def updates(speed: Speed, *lines: str) -> dict[tuple[str, str], FactorUpdate]:
    found = [decode_update(payload) for payload in speed.build_updates(events(*lines))]
    by_id: dict[tuple[str, str], FactorUpdate] = {
        (update.kind, update.id): update for update in found
    }
    assert len(by_id) == len(found)
    return by_id


def folded(value: float, current: np.ndarray | None, other: np.ndarray, side: np.ndarray) -> object:
    solver = Solver.of(gramian(side))
    assert solver is not None
    base = None if current is None else current[np.newaxis]
    return pytest.approx(
        updated_vectors(solver, [value], base, other[np.newaxis], True)[0], rel=1e-5, abs=1e-6
    )


def test_one_event_moves_its_user_and_its_item(speed: Speed) -> None:
    found = updates(speed, "u1,i2,2")
    assert list(found) == [("Y", "i2"), ("X", "u1")]
    assert found["X", "u1"].vector == folded(2, USERS[1], ITEMS[2], ITEMS)
    assert found["Y", "i2"].vector == folded(2, ITEMS[2], USERS[1], USERS)
    assert found["X", "u1"].related == ("i2",)
    assert found["Y", "i2"].related == ("u1",)


def test_new_users_and_items_get_a_vector(speed: Speed) -> None:
    found = updates(speed, "new,i2", "u1,novel")
    assert found["X", "new"].vector == folded(1, None, ITEMS[2], ITEMS)
    assert found["Y", "novel"].vector == folded(1, None, USERS[1], USERS)
    # u1 keeps the vector, as novel had none at the start, but knows the item from now on.
    assert np.array_equal(found["X", "u1"].vector, USERS[1])
    assert found["X", "u1"].related == ("novel",)
    again = updates(speed, "new,novel")
    assert set(again) == {("X", "new"), ("Y", "novel")}


def test_several_events_of_a_user_all_count_in_time_order(speed: Speed) -> None:
    found = updates(speed, "u0,i1,1,30", "u0,i2,-3,10", "u0,i3,2,20", "u0,i4,0,40")
    current = USERS[0].astype(np.float64)
    solver = Solver.of(gramian(ITEMS))
    assert solver is not None
    for item, value in ((2, -3), (3, 2), (1, 1)):
        moved = updated_vectors(solver, [value], current[np.newaxis], ITEMS[item : item + 1], True)
        current = current if np.isnan(moved).any() else moved[0]
    np.testing.assert_allclose(found["X", "u0"].vector, current, rtol=1e-5)
    assert found["X", "u0"].related == ("i1", "i2", "i3", "i4")
    assert ("Y", "i4") not in found


def test_events_of_a_pair_are_aggregated_as_in_the_batch_layer(tmp_path: Path) -> None:
    both, once = Speed(load()), Speed(load())
    model = store(tmp_path, pmml(log_strength=True, epsilon=0.5))
    both.load(model)
    once.load(model)
    assert both.build_updates(events("u0,i0,1", "u0,i0,2")) == once.build_updates(events("u0,i0,3"))
    other = Speed(load())
    other.load(model)
    found = updates(other, "u0,i0,3")
    assert found["X", "u0"].vector == folded(np.log(7), USERS[0], ITEMS[0], ITEMS)


def test_explicit_strengths_are_the_target(tmp_path: Path) -> None:
    speed = Speed(load())
    speed.load(store(tmp_path, pmml(implicit=False)))
    for _ in range(200):
        found = updates(speed, "u0,i0,4", "u0,i0,3")
    assert found["X", "u0"].vector @ found["Y", "i0"].vector == pytest.approx(3, rel=1e-3)


def test_a_delete_moves_nothing_and_is_told(speed: Speed) -> None:
    found = updates(speed, "u1,i2,", "u1,i3,1", "u1,i3,", "stranger,i1,")
    assert list(found) == [("X", "u1")]
    assert np.array_equal(found["X", "u1"].vector, USERS[1])
    assert (found["X", "u1"].related, found["X", "u1"].removed) == ((), ("i2", "i3"))


def test_without_known_items_the_lists_are_left_out(tmp_path: Path) -> None:
    speed = Speed(load(flags={"als.no_known_items": "true"}))
    speed.load(store(tmp_path, pmml()))
    found = updates(speed, "u1,i2,2", "u2,i3,", "u3,unknown")
    assert set(found) == {("X", "u1"), ("Y", "i2"), ("Y", "unknown")}
    assert all(not update.related and not update.removed for update in found.values())


def test_a_pair_unknown_on_both_sides_waits_for_the_next_model(speed: Speed) -> None:
    assert updates(speed, "stranger,novelty,5") == {}
    assert speed.counts == {"unknown": 1}


def test_a_singular_gramian_folds_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    speed = Speed(load())
    speed.load(store(tmp_path, pmml(), users=USERS[:2]))
    with caplog.at_level(logging.WARNING):
        found = updates(speed, "u0,i0,1", "u0,i1,")
    assert set(found) == {("X", "u0")}
    assert (found["X", "u0"].related, found["X", "u0"].removed) == (("i0",), ("i1",))
    assert speed.counts == {"no_solver": 1}
    assert "Gramian is singular" in caplog.text


def test_a_huge_strength_harms_no_vector(tmp_path: Path) -> None:
    speed = Speed(load())
    speed.load(store(tmp_path, pmml(implicit=False)))
    for _ in range(5):
        updates(speed, "u0,i0,3e38", "u0,i1,-3e38", "u1,i1,2")
    assert speed.counts["overflow"] > 0
    assert np.isfinite(updates(speed, "u1,i1,2")["X", "u1"].vector).all()


def test_micro_batches_and_restarts_give_the_same_model(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    lines = [
        f"u{random.integers(9)},i{random.integers(8)},{random.integers(-2, 4)},{time}"
        for time in range(1, 200)
    ]
    model = store(tmp_path, pmml())
    first, second = Speed(load()), Speed(load())
    first.load(model)
    second.load(model)
    sent: list[str] = []
    for start in range(0, 150, 50):
        batch = events(*lines[start : start + 50])
        payloads = first.build_updates(batch)
        assert len(payloads) > 10
        sent += payloads
    for payload in sent:
        second.apply(payload)
    last = events(*lines[150:])
    assert first.build_updates(last) == second.build_updates(last)


def test_the_order_of_arrival_does_not_matter(tmp_path: Path) -> None:
    lines = [f"u{n % 4},i{n % 5},{n % 7 - 2},{n + 1}" for n in range(60)]
    model = store(tmp_path, pmml())
    found: list[Sequence[str]] = []
    for order in (lines, lines[::-1], sorted(lines)):
        speed = Speed(load())
        speed.load(model)
        found.append(speed.build_updates(events(*order)))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 9


def test_nothing_before_a_model() -> None:
    speed = Speed(load())
    assert speed.fraction_loaded == 1.0
    assert speed.build_updates(events("u,i,1", "v,j,2")) == []
    speed.apply(encode_update("X", "u", np.ones(3)))
    assert speed.counts == {"before_model": 3}


def test_a_model_from_files_replaces_everything(speed: Speed, tmp_path: Path) -> None:
    updates(speed, "new,i0")
    speed.load(store(tmp_path / "next", pmml()))
    assert speed.fraction_loaded == 1.0
    assert updates(speed, "new,i0")["X", "new"].vector == folded(1, None, ITEMS[0], ITEMS)


def test_vectors_of_a_model_without_files_come_by_updates() -> None:
    speed = Speed(load())
    speed.load(ModelMessage(None, pmml(features=1, user_ids=["u"], item_ids=["i"])))
    assert speed.fraction_loaded == 0.0
    speed.apply('["X","u",[2]]')
    assert speed.fraction_loaded == 0.5
    speed.apply('["X","u",[3]]')
    assert speed.fraction_loaded == 0.5
    speed.apply('["Y","i",[1]]')
    assert speed.fraction_loaded == 1.0
    assert set(updates(speed, "u,i,-1")) == {("X", "u"), ("Y", "i")}


def test_vectors_survive_one_model_that_does_not_name_them() -> None:
    speed = Speed(load())
    empty = ModelMessage(None, pmml(features=1))
    speed.load(empty)
    speed.apply('["X","u",[2]]')
    speed.apply('["Y","i",[1]]')
    speed.load(empty)
    assert len(updates(speed, "u,i,-1")) == 2
    speed.load(empty)
    assert updates(speed, "u,i,-1") == {}
    assert speed.counts == {"unknown": 1}


def test_another_number_of_features_starts_empty() -> None:
    speed = Speed(load())
    speed.load(ModelMessage(None, pmml(features=1, user_ids=["u"])))
    speed.apply('["X","u",[2]]')
    speed.load(ModelMessage(None, pmml(features=2, user_ids=["u"])))
    assert speed.fraction_loaded == 0.0
    with pytest.raises(MessageError, match="X 'u': vectors of shape"):
        speed.apply('["X","u",[2]]')


def test_what_is_not_a_model_is_refused_and_the_old_one_stays(speed: Speed, tmp_path: Path) -> None:
    with pytest.raises(MessageError, match="not an ALS model"):
        speed.load(ModelMessage(None, "<PMML"))
    with pytest.raises(StoreError, match=r"user_factors.safetensors of generation 7.*shape"):
        speed.load(store(tmp_path / "next", pmml(features=2)))
    assert len(updates(speed, "u1,i2,2")) == 2
    with pytest.raises(MessageError):
        speed.apply("[]")


def test_sides_follow_oryx_rule_of_retention() -> None:
    side, other = FactorSide(1), FactorSide(1)

    def fraction() -> float:
        n_loaded = len(side.factors) + len(other.factors)
        return fraction_loaded(n_loaded, side.retention, other.retention)

    assert fraction() == 1.0
    side.expect(["a", "b"])
    side.set_many(["a", "c"], [[1], [2]])
    assert fraction() == pytest.approx(2 / 3)
    side.expect(["b"])
    assert list(side.factors.ids) == ["a", "c"]
    side.set("c", [3])
    side.expect(["a"])
    # c was set again, but first seen before the model before this one.
    assert list(side.factors.ids) == ["a"]
    assert fraction() == 1.0
