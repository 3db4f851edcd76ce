"""The forest over HTTP."""

from __future__ import annotations

import gzip
import io
import json
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from common.apps.forest.model import ForestModel
from common.apps.forest.pmml import write_forest_pmml
from common.apps.forest.pmml_reader import read_forest_pmml
from common.broker.memory import MemoryBroker
from common.config import Settings
from common.replica.updates import ModelMessage
from common.runtime.configuration import load
from common.wire.messages import MessageError
from serving_layer.apps.forest.routes import Serving, console
from serving_layer.run.app import create_app
from tests.forests import CLASSES, COLOURS, oryx_model, random_model, random_rows
from tests.serving_layer.held import Held, sent_lines

JSON = {"Accept": "application/json"}
TEXT = {"Content-Type": "text/plain"}
ORYX: dict[str, Any] = {"num_features": 3, "categorical_features": ["0"], "target_feature": "2"}
FRUIT: dict[str, Any] = {
    "feature_names": ["id", "width", "colour", "height", "note", "target"],
    "id_features": ["id"],
    "ignored_features": ["note"],
    "numeric_features": ["width", "height"],
    "target_feature": "target",
}


def configured(schema: dict[str, Any], **flags: Any) -> Settings:
    table = {f"input_schema.{key}": value for key, value in schema.items()}
    return load(flags={"app": "forest", **table, **flags}, environment={})


def serving_of(model: ForestModel, settings: Settings) -> Serving:
    serving = Serving(settings)
    serving.load(ModelMessage(1, write_forest_pmml(model).decode()))
    return serving


@pytest.fixture
def numbers(broker: MemoryBroker) -> FlaskClient:
    """Oryx's regression fixture."""
    settings = configured(ORYX)
    serving = serving_of(oryx_model(), settings)
    return create_app(settings, Held(serving), broker.producer()).test_client()


@pytest.fixture
def classes(broker: MemoryBroker) -> FlaskClient:
    settings = configured(FRUIT)
    serving = serving_of(random_model(), settings)
    return create_app(settings, Held(serving), broker.producer()).test_client()


def line(row: list[float]) -> str:
    """Return a line for a row, an unseen colour where it has none."""
    width, colour, height = row
    name = "never seen" if np.isnan(colour) else COLOURS[int(colour)]
    values = ["" if np.isnan(value) else value for value in (width, height)]
    return json.dumps(["id", values[0], name, values[1], "-", ""])


def test_numbers_are_those_of_oryx(numbers: FlaskClient) -> None:
    assert float(numbers.get("/predict/B,0,").text) == pytest.approx(2010 / 3)
    assert float(numbers.get("/predict/A,-5,").text) == pytest.approx(67)
    reply = numbers.post("/predict", data="B,0,\nA,-5,\n", headers=TEXT)
    assert reply.text.endswith("\n")
    assert [float(text) for text in reply.text.split()] == pytest.approx([2010 / 3, 67])
    both = numbers.post("/predict", data="B,0,\nA,-5,\n", headers={**TEXT, **JSON}).json
    assert both == pytest.approx([2010 / 3, 67])


def test_a_threshold_is_inclusive_as_oryx_wrote_it(numbers: FlaskClient) -> None:
    assert float(numbers.get("/predict/A,-3,").text) == pytest.approx(2001 / 3)
    assert float(numbers.get("/predict/A,-3.0000001,").text) == pytest.approx(67)


def test_a_regression_has_no_distribution(numbers: FlaskClient) -> None:
    for reply in (
        numbers.get("/classificationDistribution/B,0,"),
        numbers.post("/classificationDistribution", data="B,0,", headers=TEXT),
    ):
        assert reply.status_code == 400
        assert "has no classes" in reply.text


def test_importances_are_all_or_one(numbers: FlaskClient) -> None:
    assert numbers.get("/feature/importance").text == "0.1\n0.3\n"
    assert numbers.get("/feature/importance", headers=JSON).json == [0.1, 0.3]
    assert numbers.get("/feature/importance/1").text == "0.3"
    for number in ("2", "-1", "x", "1.0"):
        reply = numbers.get(f"/feature/importance/{number}")
        assert reply.status_code == 400
        assert "0 to 1" in reply.text


def test_classes_and_their_probabilities_agree(classes: FlaskClient) -> None:
    model, rows = random_model(), random_rows(4, 60, missing=0.15)
    expected = model.predict(rows)
    lines = [line(row) for row in rows.tolist()]
    body = "\n".join(lines)
    found = classes.post("/predict", data=body, headers=TEXT).text.splitlines()
    assert found == [CLASSES[code] for code in expected.argmax(axis=1)]
    assert len(set(found)) > 1
    shares: Any = classes.post(
        "/classificationDistribution", data=body, headers={**TEXT, **JSON}
    ).json
    assert list(shares[0]) == list(CLASSES)
    assert [list(row.values()) for row in shares] == pytest.approx(expected)
    for at in range(5):
        path = lines[at].replace("/", "%2F")
        assert classes.get(f"/predict/{path}").text == found[at]
        one = classes.get(f"/classificationDistribution/{path}").text.splitlines()
        assert [text.rpartition(",")[0] for text in one] == list(CLASSES)
        assert [float(text.rpartition(",")[2]) for text in one] == pytest.approx(expected[at])


def test_what_takes_the_default_child_is_counted(classes: FlaskClient) -> None:
    classes.get("/predict/1,,red,2,-,")
    classes.post("/predict", data="1,,mauve,,-,\n1,1,red,1,-,yes\n", headers=TEXT)
    text = classes.get("/metrics").text
    assert "gemsbok_unseen_categories_total 1.0" in text
    assert "gemsbok_missing_values_total 3.0" in text


@pytest.mark.parametrize(
    ("datum", "code"),
    [("1,2", "bad_line"), ("1,wide,red,2,-,", "not_a_number"), ("1,2,red,2,-,yes,", "bad_line")],
)
def test_a_line_that_cannot_be_read_is_400(classes: FlaskClient, datum: str, code: str) -> None:
    for path in ("/predict/", "/classificationDistribution/"):
        reply: Any = classes.get(path + datum)
        assert (reply.status_code, reply.json["error"]["code"]) == (400, code)
    reply = classes.post("/predict", data=f"1,2,red,2,-,\n{datum}\n", headers=TEXT)
    assert (reply.status_code, reply.json["error"]["line"]) == (400, 2)


def test_examples_are_sent_by_path_body_and_form(
    classes: FlaskClient, broker: MemoryBroker
) -> None:
    lines = ["1,2,red,2,-,yes", "2,,mauve,,-,never"]
    body = "\n".join(lines).encode()
    assert classes.post(f"/train/{lines[0]}").status_code == 204
    assert classes.post("/train", data=body, headers=TEXT).status_code == 204
    packed = {**TEXT, "Content-Encoding": "gzip"}
    assert classes.post("/train", data=gzip.compress(body), headers=packed).status_code == 204
    form = {"file": (io.BytesIO(body), "lines.csv", "text/csv")}
    assert classes.post("/train", data=form).status_code == 204
    assert sent_lines(broker) == [lines[0], *lines * 3]


def test_one_bad_example_refuses_all(classes: FlaskClient, broker: MemoryBroker) -> None:
    reply: Any = classes.post("/train", data="1,2,red,2,-,yes\n1,2,red,2,-,\n", headers=TEXT)
    assert (reply.status_code, reply.json["error"]["code"]) == (400, "missing_value")
    assert reply.json["error"]["line"] == 2
    assert sent_lines(broker) == []


def test_updates_are_absolute_and_foreign_ones_add() -> None:
    settings = configured(ORYX)
    serving = serving_of(oryx_model(), settings)
    for _ in range(2):
        serving.apply('[0,"r+",20.0,4]')
    row = np.array([[1.0, 0.0]])
    assert serving.view.model.predict(row).item() == pytest.approx((20 + 2000) / 3)
    for _ in range(2):
        assert serving.apply_many_foreign(['[0,"r+",32.0,2]']) == []
    assert serving.view.model.predict(row).item() == pytest.approx((26 + 2000) / 3)


def test_the_exported_model_is_the_one_that_is_served(classes: FlaskClient) -> None:
    settings = configured(FRUIT)
    serving = serving_of(random_model(), settings)
    leaf = int(np.flatnonzero(random_model().trees.is_leaf)[3])
    serving.apply(json.dumps([0, random_model().trees.path(leaf), {"0": 1, "2": 90}]))
    rows = random_rows(6, 200)
    exported = read_forest_pmml(serving.to_pmml(), random_model().fields.schema)
    assert np.array_equal(exported.predict(rows), serving.view.model.predict(rows))
    assert exported.leaves.totals[leaf].tolist() == [1, 0, 90]


def test_before_a_model_nothing_applies() -> None:
    with pytest.raises(MessageError, match="no model yet"):
        Serving(configured(ORYX)).apply('[0,"r+",20.0,4]')


def test_every_endpoint_has_a_form() -> None:
    assert {form.path.partition("{")[0].rstrip("/") for form in console()} == {
        "/predict",
        "/classificationDistribution",
        "/feature/importance",
        "/train",
    }
