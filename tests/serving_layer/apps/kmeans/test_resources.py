"""The JSON resources of k-means."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from common.broker.memory import MemoryBroker
from serving_layer.run.app import create_app
from tests.serving_layer.apps.kmeans.test_routes import configured, serving_of, three
from tests.serving_layer.held import Held, sent_lines


@pytest.fixture
def client(broker: MemoryBroker) -> FlaskClient:
    settings = configured({"feature_names": ["x", "y"], "categorical_features": []})
    current = Held(serving_of(settings, three()))
    return create_app(settings, current, broker.producer()).test_client()


def test_records_are_assigned_as_objects_and_as_arrays(client: FlaskClient) -> None:
    records: list[Any] = [{"x": 1, "y": 0.0}, {"y": "-1.0", "x": 10}, [-1.5, 0.5]]
    found = client.post("/v1/assign", json={"records": records}).json["assignments"]
    assert [row["cluster"] for row in found] == [2, 3, 4]
    assert [row["distance"] for row in found] == pytest.approx([0.0, 8.0, 0.5**0.5])
    lines = "1,0\n10,-1.0\n-1.5,0.5\n"
    plain = client.post("/assign", data=lines, content_type="text/csv").text
    assert plain.split() == [str(row["cluster"]) for row in found]


@pytest.mark.parametrize(
    ("records", "pointer"),
    [
        ([], "#/records"),
        ([[1, 2], "1,2"], "#/records/1"),
        ([[1, 2], {"x": 1, "y": 2, "z": 3}], "#/records/1"),
        ([[1, 2], [1, 2], {"x": 1}], "#/records/2"),
        ([[1, 2, 3]], "#/records/0"),
        ([{"x": 1, "y": "far"}], "#/records/0"),
        ([{"x": 1, "y": True}], "#/records/0"),
        ([{"x": 1, "y": [2]}], "#/records/0"),
    ],
)
def test_a_bad_record_is_pointed_at(
    client: FlaskClient, broker: MemoryBroker, records: list[Any], pointer: str
) -> None:
    for path, name in (("/v1/assign", "records"), ("/v1/events", "events")):
        reply = client.post(path, json={name: records})
        assert reply.status_code == 400, reply.text
        assert reply.mimetype == "application/problem+json"
        assert reply.json["errors"][0]["pointer"] == pointer.replace("records", name)
    assert sent_lines(broker) == []


def test_events_are_records(client: FlaskClient, broker: MemoryBroker) -> None:
    events: list[Any] = [{"y": 2, "x": 1.5}, [3, "4"]]
    assert client.post("/v1/events", json={"events": events}).json == {"accepted": 2}
    lines = '{"x": 5, "y": 6}\n\n[7, 8]'
    reply = client.post("/v1/events", data=lines, content_type="application/x-ndjson")
    assert reply.json == {"accepted": 2}
    assert sent_lines(broker) == ["1.5,2", "3,4", "5,6", "7,8"]
    bad = client.post(
        "/v1/events", data='{"x": 5}\n\n{"z": 1}', content_type="application/x-ndjson"
    )
    assert (bad.status_code, bad.json["line"]) == (400, 3)
    assert len(sent_lines(broker)) == 4
