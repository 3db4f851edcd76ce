"""Word count over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from common.broker.memory import MemoryBroker
from common.replica.updates import ModelMessage
from common.runtime.configuration import load
from common.wire.messages import MessageError
from serving_layer.apps.wordcount import Serving
from serving_layer.run.app import create_app
from tests.serving_layer.held import Held, sent_lines

JSON = {"Accept": "application/json"}


@pytest.fixture
def client(broker: MemoryBroker) -> FlaskClient:
    settings = load(flags={"app": "wordcount"}, environment={})
    serving = Serving(settings)
    serving.load(ModelMessage(1, '{"fox": 2, "dog": 1}'))
    serving.apply("dog,3")
    serving.apply('"a,b",4,a neighbour')
    return create_app(settings, Held(serving), broker.producer()).test_client()


def test_counts_are_a_map_or_one_number(client: FlaskClient) -> None:
    assert client.get("/distinct").json == {"fox": 2, "dog": 3, "a,b": 4}
    assert client.get("/distinct/dog").text == "3"
    assert client.get("/distinct/dog", headers=JSON).json == 3


def test_an_unknown_word_is_400(client: FlaskClient) -> None:
    reply = client.get("/distinct/cat", headers={"Accept": "text/plain"})
    assert (reply.status_code, reply.text) == (400, "No such word\n")


def test_lines_are_added_by_path_body_and_form(client: FlaskClient, broker: MemoryBroker) -> None:
    assert client.post("/add/the%20quick%20fox").status_code == 204
    text = {"Content-Type": "text/plain"}
    assert client.post("/add", data="the lazy dog\nthe end\n", headers=text).status_code == 204
    assert sent_lines(broker) == ["the quick fox", "the lazy dog", "the end"]


def test_a_line_without_a_word_is_400(client: FlaskClient, broker: MemoryBroker) -> None:
    assert client.post("/add/%20").status_code == 400
    assert sent_lines(broker) == []


def test_there_is_no_pmml(client: FlaskClient) -> None:
    reply: Any = client.get("/model.pmml")
    assert (reply.status_code, reply.json["error"]["code"]) == (404, "no_pmml")


@pytest.mark.parametrize("update", ["dog", "dog,x", "", "dog,"])
def test_updates_that_cannot_be_read_are_refused(update: str) -> None:
    serving = Serving(load(flags={"app": "wordcount"}, environment={}))
    with pytest.raises(MessageError):
        serving.apply(update)
    assert serving.counts == {}
