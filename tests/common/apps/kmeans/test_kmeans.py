"""K-means: clusters, payloads, the space of points, the settings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.apps.kmeans.clusters import Clusters
from common.apps.kmeans.payload import ClusterUpdate, decode_update, encode_update
from common.apps.kmeans.settings import Lines, schema_of
from common.apps.kmeans.transform import Transformation
from common.config import ConfigError
from common.records.columns import parse
from common.records.encoding import Encoding
from common.records.examples import parse_datum
from common.records.schema import InputSchema, SchemaError
from common.runtime.configuration import load
from common.wire.messages import MessageError

SCHEMA = InputSchema(
    ("x", "colour", "y"), frozenset(), frozenset(), frozenset("xy"), frozenset({"colour"})
)
COLOURS = Encoding({"colour": ("blue", "red")})


def clusters(centers: Any, counts: Any = None, ids: tuple[int, ...] | None = None) -> Clusters:
    found = np.array(centers, np.float64)
    n = np.ones(len(found), np.int64) if counts is None else np.array(counts)
    return Clusters(ids or tuple(range(len(found))), found, n)


def test_the_nearest_center_and_its_distance() -> None:
    three = clusters([[1, 2], [0, -2], [3, 1]], ids=(5, 0, 1))
    point = np.array([[6.0, 5.0]])
    rows = three.nearest(point)
    assert three.ids[rows[0]] == 1
    assert three.distances(point, rows).tolist() == [5.0]


def test_nearest_agrees_with_all_distances_far_from_the_origin() -> None:
    random = np.random.default_rng(1)
    many = clusters(1e7 + random.normal(size=(50, 4)))
    points = 1e7 + random.normal(size=(3000, 4))
    distances = np.linalg.norm(points[:, np.newaxis] - many.centers, axis=2)
    assert (many.nearest(points) == distances.argmin(axis=1)).all()


def test_no_points_have_no_nearest() -> None:
    assert clusters([[0, 0]]).nearest(np.empty((0, 2))).tolist() == []


@pytest.mark.parametrize(
    ("ids", "reason"), [((), "no clusters"), ((3, 1, 3), "cluster 3 is there twice")]
)
def test_no_or_doubled_ids_are_refused(ids: tuple[int, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Clusters(ids, np.zeros((len(ids), 2)), np.zeros(len(ids), np.int64))


def test_points_move_a_center_to_the_mean_of_all() -> None:
    one = clusters([[-1, 2]], [2])
    moved, rows = one.moved_by(np.array([[-1.0, -1.0]]))
    assert (moved.centers.tolist(), moved.counts.tolist()) == ([[-1.0, 1.0]], [3])
    moved, rows = moved.moved_by(np.zeros((3, 2)))
    assert (moved.centers.tolist(), moved.counts.tolist()) == ([[-0.5, 0.5]], [6])
    assert rows.tolist() == [0]
    assert one.centers.tolist() == [[-1.0, 2.0]]


def test_only_clusters_with_points_move_and_an_empty_one_takes_them_over() -> None:
    three = clusters([[0, 0], [10, 0], [20, 0]], [4, 0, 7])
    moved, rows = three.moved_by(np.array([[9.0, 3.0], [9.0, 5.0]]))
    assert rows.tolist() == [1]
    assert moved.centers.tolist() == [[0, 0], [9, 4], [20, 0]]
    assert moved.counts.tolist() == [4, 2, 7]


def test_a_replaced_cluster_leaves_the_others() -> None:
    two = clusters([[0, 0], [1, 1]], ids=(4, 9))
    found = two.with_cluster(9, np.array([3.0, 4.0]), 12)
    assert found.centers.tolist() == [[0, 0], [3, 4]]
    assert found.counts.tolist() == [1, 12]
    with pytest.raises(ValueError, match="there is no cluster 1"):
        two.with_cluster(1, np.zeros(2), 1)
    with pytest.raises(ValueError, match="3 coordinates, not 2"):
        two.with_cluster(4, np.zeros(3), 1)


@given(
    st.integers(),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=5),
    st.integers(0, 2**63 - 1),
)
def test_payloads_read_back_exactly(id_: int, center: list[float], count: int) -> None:
    if not -(2**63) <= id_ < 2**63:
        id_ %= 2**63
    found = decode_update(encode_update(ClusterUpdate(id_, np.array(center), count)))
    assert (found.id, found.center.tolist(), found.count) == (id_, center, count)


def test_a_payload_is_as_oryx_writes_it() -> None:
    assert encode_update(ClusterUpdate(2, np.array([1.0, -0.5]), 3)) == "[2,[1.0,-0.5],3]"
    assert decode_update("[2, [1, -0.5], 3]").center.tolist() == [1.0, -0.5]


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "{}",
        "[1]",
        '["1",[1],2]',
        "[1,[true],2]",
        "[1,[1],-2]",
        "[1,[1],2.5]",
        "[1,[NaN],2]",
        "[1,[null],2]",
        "[1,[[1]],2]",
        "[1,2,3]",
        "[1,[1],2,3]",
        "[1,[1],1e400]",
        "null",
    ],
)
def test_bad_payloads_are_refused(payload: str) -> None:
    with pytest.raises(MessageError, match="not a k-means update"):
        decode_update(payload)


def points(transformation: Transformation, *lines: str) -> Any:
    found, n_unseen = transformation.points(parse(pa.array(lines), SCHEMA)[0])
    alone = [transformation.point(parse_datum(line, SCHEMA)) for line in lines]
    assert np.array_equal(np.concatenate([point for point, _ in alone]), found)
    assert sum(n for _, n in alone) == n_unseen
    return found.tolist(), n_unseen


def test_numbers_stay_and_categories_get_a_coordinate_each() -> None:
    transformation = Transformation.of(SCHEMA, COLOURS)
    assert points(transformation, "1,red,-2", "3,blue,0", "0,green,0") == (
        [[1, 0, 1, -2], [3, 1, 0, 0], [0, 0, 0, 0]],
        1,
    )


def test_numbers_are_standardised_on_request() -> None:
    transformation = Transformation.of(SCHEMA, COLOURS, [(2.0, 0.5), (7.0, 0.0)])
    assert points(transformation, "3,red,9", "2,red,7") == ([[2, 0, 1, 2], [0, 0, 1, 0]], 0)


def test_a_feature_that_hardly_varies_at_a_great_height_can_be_standardised() -> None:
    schema = InputSchema(("x",), frozenset(), frozenset(), frozenset("x"), frozenset())
    [coordinate] = Transformation.of(schema, Encoding({}), [(1e30, 0.0)]).coordinates
    assert coordinate.low < coordinate.high


def settings(**schema: Any) -> Any:
    flags = {f"input_schema.{key}": value for key, value in schema.items()}
    return load(flags={"app": "kmeans", **flags}, environment={})


def test_lines_lack_no_feature() -> None:
    lines = Lines(
        settings(feature_names=["id", "x", "c"], id_features=["id"], categorical_features=["c"])
    )
    reasons = lines.read(pa.array([",1,a", "1,,a", "1,1,", "1,x,a"], pa.string())).reasons
    assert reasons.to_pylist() == [
        None,
        "missing_value: the feature 'x' has no value",
        "missing_value: the feature 'c' has no value",
        "not_a_number: the feature 'x' is not a finite number: 'x'",
    ]
    texts = [f"{n},1,a" for n in range(1000)]
    assert len(set(lines.keys(texts, lines.read(pa.array(texts)).columns))) == 1000


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({}, "no features"),
        (
            {"num_features": 2, "categorical_features": [], "target_feature": "1"},
            "input_schema.target_feature is '1': k-means predicts none",
        ),
        (
            {"num_features": 1, "ignored_features": ["0"], "numeric_features": []},
            "k-means needs an active one",
        ),
    ],
)
def test_a_schema_that_k_means_cannot_use_is_refused(schema: dict[str, Any], reason: str) -> None:
    with pytest.raises(SchemaError, match=reason):
        schema_of(settings(**schema))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("iterations", "0"),
        ("runs", "0"),
        ("hyperparams.k", "1"),
        ("evaluation_strategy", "sse"),
        ("engine", "driver"),
        ("initialization_strategy", "k-means++"),
        ("engine_max_cells", "-1"),
    ],
)
def test_settings_out_of_range_are_refused(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"kmeans.{key}"):
        load(flags={f"kmeans.{key}": value})
