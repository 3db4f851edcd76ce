"""The JSON resources of the random forest."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from common.apps.forest.pmml import write_forest_pmml
from common.broker.memory import MemoryBroker
from common.replica.updates import ModelMessage
from common.runtime.configuration import load
from serving_layer.apps.forest.routes import Serving
from serving_layer.run.app import create_app
from tests.forests import CLASSES, random_model
from tests.serving_layer.held import Held, sent_lines

RECORDS: list[Any] = [
    {"width": 1.5, "colour": "red", "height": -2},
    {"colour": "never seen"},
    ["id-1", "0.5", "sea green", 0.25, "a note, with a comma", None],
]
LINES = ",1.5,red,-2,,\n,,never seen,,,\nid-1,0.5,sea green,0.25,,\n"


def served(broker: MemoryBroker, classification: bool) -> FlaskClient:
    schema = {
        "feature_names": ["id", "width", "colour", "height", "note", "target"],
        "id_features": ["id"],
        "ignored_features": ["note"],
        "categorical_features": ["colour", "target"] if classification else ["colour"],
        "target_feature": "target",
    }
    table = {f"input_schema.{key}": value for key, value in schema.items()}
    settings = load(flags={"app": "forest", **table}, environment={})
    serving = Serving(settings)
    model = random_model(classification=classification)
    serving.load(ModelMessage(1, write_forest_pmml(model).decode()))
    return create_app(settings, Held(serving), broker.producer()).test_client()


def test_classes_come_with_their_probabilities(broker: MemoryBroker) -> None:
    client = served(broker, classification=True)
    found = client.post("/v1/predict", json={"records": RECORDS}).json["predictions"]
    plain = client.post("/predict", data=LINES, content_type="text/csv").text.splitlines()
    assert [prediction["value"] for prediction in found] == plain
    assert len(found) == 3
    for prediction in found:
        assert list(prediction["probabilities"]) == list(CLASSES)
        assert sum(prediction["probabilities"].values()) == pytest.approx(1)
        best = max(prediction["probabilities"], key=prediction["probabilities"].get)
        assert prediction["value"] == best


def test_a_regression_predicts_numbers(broker: MemoryBroker) -> None:
    client = served(broker, classification=False)
    found = client.post("/v1/predict", json={"records": RECORDS}).json["predictions"]
    plain = client.post("/predict", data=LINES, content_type="text/csv").text.split()
    assert [prediction["value"] for prediction in found] == pytest.approx([*map(float, plain)])
    assert {prediction["probabilities"] for prediction in found} == {None}


def test_importances_have_names(broker: MemoryBroker) -> None:
    reply = served(broker, classification=True).get("/v1/feature-importances").json
    assert [(row["feature"], row["importance"]) for row in reply["importances"]] == [
        ("width", 0.5),
        ("colour", 0.25),
        ("height", 0.25),
    ]


def test_a_bad_record_is_pointed_at_and_good_ones_are_sent(broker: MemoryBroker) -> None:
    client = served(broker, classification=True)
    bad = client.post("/v1/predict", json={"records": [{"width": 1}, {"width": "wide"}]})
    assert bad.status_code == 400
    assert bad.json["errors"][0]["pointer"] == "#/records/1"
    event = {"width": 1, "colour": "red", "height": 2, "target": "yes"}
    assert client.post("/v1/events", json={"events": [event]}).json == {"accepted": 1}
    assert sent_lines(broker) == [",1,red,2,,yes"]
