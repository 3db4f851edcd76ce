"""What every family keeps in the serving layer."""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from common.broker.memory import MemoryBroker
from common.store.generations import Generation
from common.wire.messages import MessageError
from serving_layer.run.app import create_app
from tests.conformance.conftest import Family
from tests.pmml_check import schema_errors
from tests.serving_layer.held import Held

pytestmark = pytest.mark.integration
Build = Callable[..., Generation]


def client(family: Family, model: Any = None, read_only: bool = False) -> FlaskClient:
    api = family.settings.serving.api.model_copy(update={"read_only": read_only})
    serving = family.settings.serving.model_copy(update={"api": api})
    settings = family.settings.model_copy(update={"serving": serving})
    broker = MemoryBroker()
    broker.create_topic(settings.input_topic.name, 1)
    producer = None if read_only else broker.producer()
    return create_app(settings, Held(model), producer).test_client()


def test_without_a_model_every_query_is_503_and_says_why(family: Family) -> None:
    asking = client(family)
    assert len(family.sample.QUERIES) > 0
    for path in [*family.sample.QUERIES, "/ready", "/model.pmml"]:
        reply = asking.get(path)
        assert reply.status_code == 503, path
        assert "no model generation yet" in reply.text


def test_csv_and_json_say_the_same(family: Family, build: Build) -> None:
    asking = client(family, family.serving(build(family.sample.lines())))
    for path in family.sample.QUERIES:
        as_json = asking.get(path, headers={"Accept": "application/json"}).get_json()
        plain = asking.get(path)
        if isinstance(as_json, int | float | str):
            as_json = [as_json]
        assert len(as_json) > 0, path
        if isinstance(as_json, dict):  # a map has one form only
            assert plain.get_json() == as_json
            continue
        rows = [list(row.values()) if isinstance(row, dict) else [row] for row in as_json]
        expected = [[str(cell) for cell in row] for row in rows]
        assert list(csv.reader(io.StringIO(plain.text))) == expected, path


def test_unknown_ids_are_404(family: Family, build: Build) -> None:
    asking = client(family, family.serving(build(family.sample.lines())))
    assert [asking.get(path).status_code for path in family.sample.UNKNOWN] == [404] * len(
        family.sample.UNKNOWN
    )


@pytest.mark.layers("batch")
def test_read_only_refuses_every_write(family: Family, build: Build) -> None:
    asking = client(family, family.serving(build(family.sample.lines())), read_only=True)
    assert len(family.sample.WRITES) > 0
    for method, path in family.sample.WRITES:
        reply = asking.open(path, method=method, data="\0 not a line", content_type="text/csv")
        assert reply.status_code == 403
        assert "Serving Layer is read-only" in reply.text


@pytest.mark.layers("speed")
def test_updates_twice_are_updates_once(family: Family, build: Build) -> None:
    lines = family.sample.lines()
    generation = build(lines[: len(lines) // 2])
    updates = family.speed(generation).build_updates(family.events(lines[-20:]))
    once, twice = family.serving(generation), family.serving(generation)
    before = family.sample.state(once)
    for update in updates:
        once.apply(update)
    for update in [*updates, *updates]:
        twice.apply(update)
    assert family.sample.state(once) == family.sample.state(twice) != before


@pytest.mark.layers("speed")
def test_the_model_as_it_is_now_is_valid_pmml(family: Family, build: Build) -> None:
    lines = family.sample.lines()
    generation = build(lines[: len(lines) // 2])
    model = family.serving(generation)
    for update in family.speed(generation).build_updates(family.events(lines[-20:])):
        model.apply(update)
    asking = client(family, model)
    reply = asking.get("/model.pmml")
    if not generation.manifest.model_file.endswith(".pmml"):
        assert (reply.status_code, reply.get_json()["error"]["code"]) == (404, "no_pmml")
        return
    assert schema_errors(reply.data) == schema_errors(generation.model_text().encode()) == []
    # ALS has what it learns beside its PMML.
    assert (reply.data != generation.model_text().encode()) or family.name == "als"
    pretty = asking.get("/model.pmml?pretty=true", headers={"Accept-Encoding": "gzip"})
    indented = gzip.decompress(pretty.data)
    assert indented.count(b"\n") > 5
    assert schema_errors(indented) == []


def test_updates_that_cannot_be_read_change_nothing(family: Family, build: Build) -> None:
    model = family.serving(build(family.sample.lines()))
    before = family.sample.state(model)
    for update in family.sample.BAD_UPDATES:
        with pytest.raises(MessageError):
            model.apply(update)
    assert family.sample.state(model) == before


def test_the_metrics_name_the_application(family: Family) -> None:
    text = client(family).get("/metrics").text
    assert len(re.findall(r"^gemsbok_\w+", text, re.MULTILINE)) > 3
