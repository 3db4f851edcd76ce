"""The JSON resources of a document of another tool."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from serving_layer.run.app import create_app
from tests.serving_layer.apps.pmml.test_routes import loaded, settings_of, text_of
from tests.serving_layer.held import Held

pytestmark = pytest.mark.jvm


@pytest.fixture
def client() -> FlaskClient:
    return create_app(settings_of(), Held(loaded(text_of("regression"))), None).test_client()


def test_records_are_scored_as_by_the_plain_route(client: FlaskClient) -> None:
    records: list[Any] = [
        {"age": 30, "salary": 1000, "car_location": "street"},
        [30, 1000, "carpark"],
    ]
    found = client.post("/v1/score", json={"records": records}).json["scores"]
    assert [list(row) for row in found] == [["predicted_claims"]] * 2
    plain = client.post(
        "/predict", data="30,1000,street\n30,1000,carpark\n", content_type="text/csv"
    )
    scores = [row["predicted_claims"] for row in found]
    assert scores == pytest.approx([float(line) for line in plain.text.split()])


@pytest.mark.parametrize(
    "record", [[30, 1000], {"age": "old"}, {"colour": "red"}, {"car_location": "garage"}]
)
def test_a_bad_record_is_pointed_at(client: FlaskClient, record: Any) -> None:
    records = [[30, 1000, "street"], record]
    reply = client.post("/v1/score", json={"records": records})
    assert reply.status_code == 400, reply.text
    assert reply.mimetype == "application/problem+json"
    assert reply.json["errors"][0]["pointer"] == "#/records/1"


def test_the_schema_is_the_plain_route_s(client: FlaskClient) -> None:
    found = client.get("/v1/schema").json
    assert [field["name"] for field in found["inputs"]] == ["age", "salary", "car_location"]
    assert found == client.get("/schema").json
