"""Examples to predict from that do not fit the model."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

from common.apps.kmeans.clusters import Clusters
from common.apps.kmeans.pmml import KMeansModel, write_kmeans_pmml
from common.apps.kmeans.transform import Transformation
from common.records.encoding import Encoding
from common.records.schema import InputSchema
from common.replica.updates import ModelMessage
from common.runtime.configuration import load
from serving_layer.apps.kmeans.routes import Serving
from serving_layer.run.app import create_app
from tests.serving_layer.bad_input.conftest import LIMITS
from tests.serving_layer.bad_input.requests import get, post
from tests.serving_layer.held import Held
from tests.serving_layer.running import Running


@pytest.fixture(scope="module")
def kmeans() -> Iterator[Running]:
    """Two clusters of two numbers, behind the real server."""
    schema = {"input_schema.num_features": 2, "input_schema.categorical_features": []}
    settings = load(
        flags={"app": "kmeans", "serving.api.read_only": True, **schema}, environment={}
    )
    found = InputSchema.from_settings(settings.input_schema)
    clusters = Clusters((1, 2), np.array([[0.0, 0.0], [9.0, 9.0]]), np.array([1, 1]))
    model = KMeansModel(found, Transformation.of(found, Encoding({})), clusters, 1)
    serving = Serving(settings)
    serving.load(ModelMessage(1, write_kmeans_pmml(model).decode()))
    running = Running(create_app(settings, Held(serving), None), LIMITS)
    yield running
    running.close()


@pytest.mark.parametrize(
    ("datum", "code"),
    [
        pytest.param("1", "bad_line", id="B53-too-few"),
        pytest.param("1,2,3", "bad_line", id="B53-too-many"),
        pytest.param("1,x", "not_a_number", id="B53-not-a-number"),
        pytest.param("1,inf", "not_a_number", id="B53-infinite"),
        pytest.param(",1", "missing_value", id="B53-absent"),
    ],
)
def test_an_example_that_does_not_fit_is_refused(kmeans: Running, datum: str, code: str) -> None:
    status, body = kmeans.exchange(get(f"/assign/{datum}"))
    assert (status, json.loads(body)["error"]["code"]) == (400, code)
    lines = post(f"1,2\n{datum}\n".encode(), "text/csv", "/assign")
    status, body = kmeans.exchange(lines)
    assert (status, json.loads(body)["error"]["line"]) == (400, 2)
    assert kmeans.exchange(get("/assign/8,8")) == (200, b"2")
