"""The forest in the speed layer."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from common.apps.forest import Lines
from common.apps.forest.model import ForestModel
from common.apps.forest.pmml import write_forest_pmml
from common.config import Settings
from common.replica.updates import ModelMessage
from common.runtime.configuration import load
from common.wire.messages import MessageError
from speed_layer.api import Events
from speed_layer.apps.forest.model import Speed
from tests.forests import CLASSES, COLOURS, oryx_model, random_model, random_rows
from tests.micro_batches import micro_batch


def settings(classification: bool = True) -> Settings:
    numeric = ["width", "height"] if classification else ["width", "height", "target"]
    flags: dict[str, Any] = {
        "app": "forest",
        "input_schema.feature_names": ["id", "width", "colour", "height", "note", "target"],
        "input_schema.id_features": ["id"],
        "input_schema.ignored_features": ["note"],
        "input_schema.numeric_features": numeric,
        "input_schema.target_feature": "target",
    }
    return load(flags=flags, environment={})


def loaded(model: ForestModel, generation: int | None = 7) -> Speed:
    speed = Speed(settings(model.leaves.classification))
    speed.load(ModelMessage(generation, write_forest_pmml(model).decode()))
    return speed


def events(lines: list[str], of: Settings | None = None) -> Events:
    return micro_batch(Lines(of or settings()), lines)


def line(row: list[float], target: object) -> str:
    width, colour, height = ("" if value != value else value for value in row)
    name = COLOURS[int(colour)] if colour != "" else ""
    return json.dumps(["id", width or 0.0, name, height or 0.0, "-", target])


def test_a_class_counts_in_one_leaf_of_each_tree() -> None:
    model, rows = random_model(), random_rows(3, 20, missing=0.0)
    speed = loaded(model)
    lines = [line(row, CLASSES[at % 3]) for at, row in enumerate(rows.tolist())]
    updates = [json.loads(update) for update in speed.build_updates(events(lines))]
    leaves = model.trees.all_leaves(rows)
    assert len(updates) == len(np.unique(leaves)) > 7
    expected = model.leaves.totals.copy()
    for tree in leaves:
        np.add.at(expected, (tree, np.arange(20) % 3), 1)
    for tree, path, counts in updates:
        leaf = model.trees.node(tree, path)
        assert leaf is not None
        total = {str(code): n for code, n in enumerate(expected[leaf].tolist()) if n}
        assert counts == total
    assert sum(sum(counts.values()) for *_, counts in updates) > 20 * 7


def test_a_number_moves_the_mean_of_its_leaves() -> None:
    model, rows = random_model(classification=False), random_rows(3, 1, missing=0.0)
    speed = loaded(model)
    updates = speed.build_updates(
        events([line(rows.tolist()[0], 2.5)], settings(classification=False))
    )
    leaves = model.trees.all_leaves(rows)[:, 0].tolist()
    assert len(updates) == len(leaves) == 7
    for tree, (update, leaf) in enumerate(zip(updates, leaves, strict=True)):
        count, mean = model.leaves.totals[leaf].tolist()
        moved = mean + (2.5 - mean) / (count + 1)
        assert json.loads(update) == [
            tree,
            model.trees.path(leaf),
            pytest.approx(moved),
            count + 1,
        ]


def test_a_model_that_is_not_ours_gets_changes() -> None:
    flags: dict[str, Any] = {
        "app": "forest",
        "input_schema.num_features": 3,
        "input_schema.categorical_features": ["0"],
        "input_schema.target_feature": "2",
    }
    theirs = load(flags=flags, environment={})
    speed = Speed(theirs)
    speed.load(ModelMessage(None, write_forest_pmml(oryx_model()).decode()))
    updates = speed.build_updates(events(["B,0,3", "B,1,5", "A,-9,7"], theirs))
    assert [json.loads(update) for update in updates] == [
        [0, "r-", 7.0, 1],
        [0, "r+", 4.0, 2],
        [1, "r-", 7.0, 1],
        [1, "r+", 4.0, 2],
    ]
    speed.apply_foreign(updates[1])
    again = speed.build_updates(events(["B,0,3"], theirs))
    assert json.loads(again[0]) == [0, "r+", 3.0, 1]


def test_a_foreign_change_adds_and_our_own_replaces() -> None:
    model = random_model()
    speed = loaded(model)
    leaf = int(np.flatnonzero(model.trees.is_leaf)[0])
    payload = json.dumps([0, model.trees.path(leaf), {"2": 40}])
    row = random_rows(5, 200, missing=0.0)
    at = int(np.flatnonzero(model.trees.all_leaves(row)[0] == leaf)[0])
    event = events([line(row[at].tolist(), "yes")])
    before = model.leaves.totals[leaf, 2]
    speed.apply_foreign(payload)
    assert json.loads(speed.build_updates(event)[0])[2]["2"] == before + 41
    for _ in range(2):
        speed.apply(payload)
    assert json.loads(speed.build_updates(event)[0]) == [0, model.trees.path(leaf), {"2": 41}]


def test_what_is_missing_or_unknown_is_counted() -> None:
    speed = loaded(random_model())
    lines = [
        "1,0.5,violet,0.5,-,yes",
        "2,,red,0.5,-,yes",
        "3,0.5,red,0.5,-,never",
        "4,0.5,red,0.5,-,",
        "5,wide,red,0.5,-,no",
    ]
    found = events(lines)
    assert found.records["offset"].to_pylist() == [0, 1, 2]
    updates = speed.build_updates(found)
    assert 7 <= len(updates) <= 14
    assert speed.counts == {
        "unseen_categories": 1,
        "missing_values": 1,
        "unseen_classes": 1,
    }


def test_nothing_happens_before_a_model() -> None:
    speed = Speed(settings())
    assert speed.build_updates(events(["1,0.5,red,0.5,-,yes"])) == []
    speed.apply('[0,"r",{"0":1}]')
    assert speed.counts == {"before_model": 2}


@pytest.mark.parametrize(
    "update",
    [
        "",
        "[]",
        "{}",
        '[0,"r+",1.0,2]',
        '[7,"r+",{"0":1}]',
        '[-1,"r+",{"0":1}]',
        '[1.5,"r+",{"0":1}]',
        '[true,"r+",{"0":1}]',
        '[0,"r",{"0":1}]',
        '[0,"r+x",{"0":1}]',
        '[0,5,{"0":1}]',
        '[0,"r+++++++",{"0":1}]',
        '[0,"r--",{"3":1}]',
        '[0,"r--",{"-1":1}]',
        '[0,"r--",{"0":-1}]',
        '[0,"r--",{"0":"1"}]',
        '[0,"r--",{}]',
    ],
)
def test_updates_that_cannot_be_read_are_refused(update: str) -> None:
    speed = loaded(random_model())
    with pytest.raises(MessageError):
        speed.apply(update)


def test_a_model_of_another_schema_is_refused() -> None:
    speed = Speed(settings(classification=False))
    with pytest.raises(MessageError, match=r"'target' is categorical.*says numeric"):
        speed.load(ModelMessage(1, write_forest_pmml(random_model()).decode()))
