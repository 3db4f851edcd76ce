"""Requests made up from the OpenAPI document, against the real server around small models.

Each reply must be one that the document promises: status, media type, schema.  A long run, with
more of them and others every time::

    GEMSBOK_FUZZ=2000 bin/test tests/serving_layer/openapi/test_schemathesis.py
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from common.config import Api
from serving_layer.openapi.document import document
from serving_layer.run.app import create_app
from serving_layer.transport.bridge import Limits
from tests.serving_layer.apps.als import fixture as als_fixture
from tests.serving_layer.apps.forest import test_resources as test_forest_v1
from tests.serving_layer.apps.kmeans import test_routes as test_kmeans
from tests.serving_layer.held import Held, input_topic
from tests.serving_layer.openapi.test_openapi import app_of
from tests.serving_layer.running import Running

# Each test is quick; all of them take seconds, and a long run takes minutes.
pytestmark = pytest.mark.slow
CHECKS: list[Any] = [
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
#: Requests for each operation beside those at the schema's edges.
LONG = int(os.environ.get("GEMSBOK_FUZZ", "0"))


@schemathesis.serializer("application/x-ndjson")
def lines(context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def als_app(folder: Path) -> Flask:
    return als_fixture.serve(als_fixture.from_files(folder)).app


def kmeans_app(folder: Path) -> Flask:
    settings = test_kmeans.configured(test_kmeans.PLAIN)
    serving = test_kmeans.serving_of(settings, test_kmeans.three())
    return create_app(settings, Held(serving), input_topic().producer())


def forest_app(folder: Path) -> Flask:
    return test_forest_v1.served(input_topic(), classification=True).application


APPS = {"als": als_app, "kmeans": kmeans_app, "forest": forest_app}


@pytest.fixture(scope="module")
def url_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Returns where a family's real server is."""
    running: dict[str, Running] = {}

    def started(family: str) -> str:
        if family not in running:
            limits = Limits(threads=4, body_bytes=100_000, waiting=64, held_bytes=400_000)
            running[family] = Running(APPS[family](tmp_path_factory.mktemp(family)), limits)
        return f"http://{running[family].host}:{running[family].port}"

    yield started
    for server in running.values():
        server.close()


def every_reply_is_promised(family: str) -> Any:
    """Return a test for each operation, which pytest wants to know before it runs any."""
    schema = schemathesis.openapi.from_dict(document(app_of(family), Api()))

    @schema.parametrize()
    @settings(
        max_examples=LONG or 2,
        derandomize=not LONG,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def check(case: Any, url_of: Callable[[str], str]) -> None:
        reply = case.call(base_url=url_of(family))
        assert reply.status_code != 500
        case.validate_response(reply, checks=CHECKS)

    return check


test_als = every_reply_is_promised("als")
test_kmeans_family = every_reply_is_promised("kmeans")
test_forest = every_reply_is_promised("forest")
