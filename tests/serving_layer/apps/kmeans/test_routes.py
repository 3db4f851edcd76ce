"""K-means over HTTP."""

from __future__ import annotations

import gzip
import io
import math
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from common.apps.kmeans.clusters import Clusters
from common.apps.kmeans.pmml import KMeansModel, read_kmeans_pmml, write_kmeans_pmml
from common.apps.kmeans.transform import Transformation
from common.broker.memory import MemoryBroker
from common.config import Settings
from common.records.encoding import Encoding
from common.records.schema import InputSchema
from common.replica.updates import ModelMessage
from common.runtime.configuration import load
from common.wire.messages import MessageError
from serving_layer.apps.kmeans.routes import Serving, console
from serving_layer.run.app import create_app
from tests.serving_layer.held import Held, sent_lines

JSON = {"Accept": "application/json"}
PLAIN: dict[str, Any] = {"num_features": 2, "categorical_features": []}
WITH_COLOUR: dict[str, Any] = {
    "feature_names": ["id", "x", "colour"],
    "id_features": ["id"],
    "categorical_features": ["colour"],
}


def configured(schema: dict[str, Any], **flags: Any) -> Settings:
    table = {f"input_schema.{key}": value for key, value in schema.items()}
    return load(flags={"app": "kmeans", **table, **flags}, environment={})


def serving_of(settings: Settings, clusters: Clusters, colours: tuple[str, ...] = ()) -> Serving:
    schema = InputSchema.from_settings(settings.input_schema)
    encoding = Encoding({"colour": colours} if colours else {})
    model = KMeansModel(schema, Transformation.of(schema, encoding), clusters, 1)
    serving = Serving(settings)
    serving.load(ModelMessage(1, write_kmeans_pmml(model).decode()))
    return serving


def three() -> Clusters:
    centers = np.array([[1.0, 0.0], [2.0, -1.0], [-1.0, 0.0]])
    return Clusters((2, 3, 4), centers, np.array([1, 2, 3]))


@pytest.fixture
def serving() -> Serving:
    return serving_of(configured(PLAIN), three())


@pytest.fixture
def client(broker: MemoryBroker, serving: Serving) -> FlaskClient:
    return create_app(configured(PLAIN), Held(serving), broker.producer()).test_client()


@pytest.mark.parametrize(("datum", "id_"), [("1,0", 2), ("10,-1.0", 3), ("[-3, 0]", 4)])
def test_assign_names_the_nearest_cluster(client: FlaskClient, datum: str, id_: int) -> None:
    assert client.get(f"/assign/{datum}").text == str(id_)
    assert client.get(f"/assign/{datum}", headers=JSON).json == id_


def test_assign_takes_many_lines(client: FlaskClient) -> None:
    lines = "-1.5,0.5\n-1,0\n"
    reply = client.post("/assign", data=lines, content_type="text/csv")
    assert (reply.status_code, reply.text) == (200, "4\n4\n")
    as_json = client.post("/assign", json=[[-1.5, 0.5], [10, -1]], headers=JSON)
    assert as_json.json == [4, 3]


def test_a_read_only_layer_assigns_and_takes_nothing() -> None:
    settings = configured(PLAIN, **{"serving.api.read_only": True})
    asking = create_app(settings, Held(serving_of(settings, three())), None).test_client()
    assert asking.post("/assign", data="1,0", content_type="text/csv").text == "2\n"
    for path in ("/add", "/add/not,numbers"):
        reply = asking.post(path, data="not,numbers", content_type="text/csv")
        assert reply.status_code == 403
        assert "Serving Layer is read-only" in reply.text


def test_the_distance_is_euclidean(client: FlaskClient) -> None:
    assert float(client.get("/distanceToNearest/1,0").text) == 0.0
    assert float(client.get("/distanceToNearest/5,3").text) == 5.0
    assert client.get("/distanceToNearest/1,2", headers=JSON).json == 2.0


@pytest.mark.parametrize(
    ("datum", "code", "reason"),
    [
        ("1", "bad_line", "1 fields, not 2"),
        ("1,2,3", "bad_line", "3 fields, not 2"),
        ("1,x", "not_a_number", "the feature '1' is not a finite number: 'x'"),
        ("1,inf", "not_a_number", "the feature '1' is not a finite number: 'inf'"),
        (",1", "missing_value", "the feature '0' has no value"),
        ("[1,[2]]", "bad_line", "not a JSON array of scalars: it holds an array"),
    ],
)
def test_bad_examples_are_400_and_say_why(
    client: FlaskClient, broker: MemoryBroker, datum: str, code: str, reason: str
) -> None:
    for path in (f"/assign/{datum}", f"/distanceToNearest/{datum}"):
        reply = client.get(path)
        assert reply.status_code == 400
        assert reply.json["error"]["message"] == reason  # type: ignore[index]
    for path in ("/assign", "/add"):
        reply = client.post(path, data=f"1,0\n\n{datum}\n", content_type="text/csv")
        assert reply.status_code == 400
        assert reply.json["error"] | {"request_id": ""} == {  # type: ignore[index]
            "code": code,
            "message": reason,
            "line": 3,
            "request_id": "",
        }
    assert client.post(f"/add/{datum}").status_code == 400
    assert sent_lines(broker) == []


def test_examples_are_added_in_every_form(client: FlaskClient, broker: MemoryBroker) -> None:
    lines = ["1.0,0", "10,-1.0"]
    text = "".join(f"{line}\n" for line in lines).encode()
    assert client.post("/add", data=text, content_type="text/csv").status_code == 204
    packed = client.post(
        "/add",
        data=gzip.compress(text),
        content_type="text/csv",
        headers={"Content-Encoding": "gzip"},
    )
    assert packed.status_code == 204
    upload = client.post("/add", data={"file": (io.BytesIO(text), "lines.csv")})
    assert upload.status_code == 204
    zipped = client.post(
        "/add",
        data={"file": (io.BytesIO(gzip.compress(text)), "lines.csv.gz", "application/gzip")},
    )
    assert zipped.status_code == 204
    assert sent_lines(broker) == lines * 4
    for line in lines:
        assert client.post(f"/add/{line}").status_code == 204
    assert sent_lines(broker) == lines * 5


def test_the_last_update_of_a_cluster_wins(client: FlaskClient, serving: Serving) -> None:
    for update in ("[2,[50.0,0.0],7]", "[3,[-9.0,1.5],1]", "[2,[100.0,8.0],9]"):
        serving.apply(update)
    assert client.get("/assign/60,0").text == "2"
    assert client.get("/assign/-9,1").text == "3"
    assert client.get("/distanceToNearest/100,8").text == "0.0"
    clusters = read_kmeans_pmml(client.get("/model.pmml").data).clusters
    assert clusters.ids == (2, 3, 4)
    assert clusters.centers.tolist() == [[100, 8], [-9, 1.5], [-1, 0]]
    assert clusters.counts.tolist() == [9, 1, 3]


def test_updates_that_cannot_be_used_change_nothing(serving: Serving) -> None:
    before = serving.to_pmml()
    for update in ("", "[9,[1.0,2.0],1]", "[2,[1.0],1]"):
        with pytest.raises(MessageError, match="k-means update"):
            serving.apply(update)
    assert serving.to_pmml() == before
    with pytest.raises(MessageError, match="before any model"):
        Serving(configured(PLAIN)).apply("[2,[1.0,2.0],1]")


def test_categories_count_and_unseen_ones_are_counted() -> None:
    settings = configured(WITH_COLOUR)
    clusters = Clusters((0, 1), np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), np.array([1, 1]))
    current = Held(serving_of(settings, clusters, ("blue", "red")))
    asking = create_app(settings, current, None).test_client()
    assert asking.get("/assign/7,0.2,red").text == "1"
    assert asking.get("/assign/7,0.2,blue").text == "0"
    assert float(asking.get("/distanceToNearest/,0,green").text) == 1.0
    lines = "7,0,red\n7,0,black\n7,0,white"
    assert asking.post("/assign", data=lines, content_type="text/csv").status_code == 200
    assert "gemsbok_unseen_categories_total 3.0" in asking.get("/metrics").text


def test_a_request_with_huge_numbers_is_answered(client: FlaskClient) -> None:
    assert client.get("/assign/3e38,3e38").text in ("2", "3", "4")
    distance = float(client.get("/distanceToNearest/3e38,0").text)
    assert math.isclose(distance, 3e38, rel_tol=1e-6)


def test_the_console_has_a_form_for_every_route(client: FlaskClient) -> None:
    page = client.get("/").text
    assert "distanceToNearest" in page
    assert {form.path for form in console()} == {
        "/assign/{example}",
        "/assign",
        "/distanceToNearest/{example}",
        "/add",
    }
