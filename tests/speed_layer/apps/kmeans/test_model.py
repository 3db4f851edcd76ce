"""K-means in the speed layer: running means, sent as they are now."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from common.apps.kmeans import Lines
from common.apps.kmeans.clusters import Clusters
from common.apps.kmeans.payload import decode_update
from common.apps.kmeans.pmml import KMeansModel, write_kmeans_pmml
from common.apps.kmeans.transform import Transformation
from common.records.encoding import Encoding
from common.records.schema import InputSchema
from common.replica.updates import ModelMessage
from common.runtime.configuration import load
from common.wire.messages import MessageError
from speed_layer.api import Events
from speed_layer.apps.kmeans.model import Speed
from tests.micro_batches import micro_batch

SITES = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
SETTINGS = load(
    flags={
        "app": "kmeans",
        "input_schema.feature_names": ["x", "y", "colour"],
        "input_schema.categorical_features": ["colour"],
    },
    environment={},
)


def model() -> ModelMessage:
    """Three sites, at which nothing is red; of 1, 2 and 3 points."""
    schema = InputSchema.from_settings(SETTINGS.input_schema)
    transformation = Transformation.of(schema, Encoding({"colour": ("red",)}))
    centers = np.column_stack([SITES, np.zeros(3)])
    clusters = Clusters((0, 1, 2), centers, np.array([1, 2, 3]))
    document = write_kmeans_pmml(KMeansModel(schema, transformation, clusters))
    return ModelMessage(1, document.decode())


def loaded() -> Speed:
    speed = Speed(SETTINGS)
    speed.load(model())
    return speed


def events(*lines: str) -> Events:
    return micro_batch(Lines(SETTINGS), lines)


def test_points_of_three_sites_move_three_clusters() -> None:
    random = np.random.default_rng(5)
    speed = loaded()
    points = np.repeat(SITES, 100, axis=0) + random.normal(scale=0.3, size=(300, 2))
    lines = [f"{x},{y},red" for x, y in random.permutation(points).tolist()]
    updates = [decode_update(update) for update in speed.build_updates(events(*lines))]
    assert [(update.id, update.count) for update in updates] == [(0, 101), (1, 102), (2, 103)]
    for update, site in zip(updates, SITES, strict=True):
        assert update.center[:2] == pytest.approx(site, abs=0.1)
        assert update.center[2] == pytest.approx(100 / update.count)


def test_only_clusters_with_new_points_are_sent_and_with_what_they_are_now() -> None:
    speed = loaded()
    assert speed.build_updates(events("9,0,red", "9,3,red")) == ["[1,[9.5,0.75,0.5],4]"]
    assert speed.build_updates(events("9.5,0.75,red")) == ["[1,[9.5,0.75,0.6],5]"]


def test_many_micro_batches_come_to_the_mean_of_all() -> None:
    random = np.random.default_rng(6)
    speed = loaded()
    points = random.normal(scale=0.5, size=(200, 2)) + SITES[1]
    update = ""
    for start in range(0, 200, 7):
        part = points[start : start + 7].tolist()
        [update] = speed.build_updates(events(*[f"{x},{y},none" for x, y in part]))
    found = decode_update(update)
    assert found.count == 202
    assert found.center[:2] == pytest.approx((points.sum(axis=0) + 2 * SITES[1]) / 202)


def test_a_restart_goes_on_from_the_updates_however_often_they_are_read() -> None:
    running, restarted = loaded(), loaded()
    updates = running.build_updates(events("1,1,red", "8,1,red", "0.3,7,blue"))
    assert len(updates) == 3
    for update in [*updates, *updates]:
        restarted.apply(update)
    more = events("2,2,red", "0,9,red")
    assert restarted.build_updates(more) == running.build_updates(more)


def test_foreign_updates_do_not_set_our_copy_back() -> None:
    speed, undisturbed = loaded(), loaded()
    late = speed.build_updates(events("9,0,red"))
    undisturbed.build_updates(events("9,0,red"))
    for each in (speed, undisturbed):
        each.build_updates(events("9,1,red"))
    speed.apply_foreign(late[0])
    assert speed.build_updates(events("9,2,red")) == undisturbed.build_updates(events("9,2,red"))


def test_a_new_model_replaces_what_has_moved() -> None:
    speed = loaded()
    first = speed.build_updates(events("1,1,red"))
    speed.load(model())
    assert speed.build_updates(events("1,1,red")) == first


def test_before_a_model_nothing_is_learnt_and_that_is_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    speed = Speed(SETTINGS)
    with caplog.at_level(logging.WARNING):
        assert speed.build_updates(events("1,1,red", "2,2,red")) == []
        speed.apply("[0,[1.0,2.0,3.0],4]")
    assert speed.counts["before_model"] == 3
    assert "before any model" in caplog.text


def test_bad_lines_are_left_out_and_unseen_categories_counted() -> None:
    speed = loaded()
    found = events("1,,red", "1,2", "9,0,green", "11,0,red")
    assert found.records["offset"].to_pylist() == [2, 3]
    assert speed.build_updates(found) == ["[1,[10.0,0.0,0.25],4]"]
    assert speed.counts["unseen"] == 1


@pytest.mark.parametrize(
    "update", ["", "[7,[1.0,2.0,3.0],4]", "[0,[1.0,2.0],4]", "[0,[1.0,2.0,3.0],-4]"]
)
def test_updates_that_cannot_be_used_are_refused(update: str) -> None:
    with pytest.raises(MessageError, match="k-means update"):
        loaded().apply(update)


def test_a_model_of_another_schema_is_refused() -> None:
    settings = load(
        flags={
            "app": "kmeans",
            "input_schema.num_features": 3,
            "input_schema.categorical_features": [],
        },
        environment={},
    )
    with pytest.raises(MessageError, match="not a k-means model"):
        Speed(settings).load(model())
