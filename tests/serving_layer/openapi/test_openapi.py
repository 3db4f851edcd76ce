"""The OpenAPI document: valid, complete, and true."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from openapi_spec_validator import OpenAPIV31SpecValidator

from common.config import Api
from common.runtime.configuration import load
from common.runtime.families import families
from serving_layer.openapi.document import document, undescribed
from serving_layer.run.app import create_app
from tests.serving_layer.held import Held


def app_of(family: str) -> Any:
    sample = importlib.import_module(f"tests.conformance.families.{family}")
    return create_app(load(flags={"app": family, **sample.SETTINGS}, environment={}), Held(), None)


@pytest.mark.parametrize("family", families())
def test_the_document_is_valid_and_every_route_described(family: str) -> None:
    app = app_of(family)
    found = document(app, Api())
    OpenAPIV31SpecValidator(found).validate()
    assert found["openapi"].startswith("3.1")
    assert len(found["paths"]) > 15
    assert undescribed(app) == []


def test_every_operation_has_a_name_of_its_own() -> None:
    paths = document(app_of("als"), Api())["paths"]
    names = [operation["operationId"] for path in paths.values() for operation in path.values()]
    assert len(names) == len(set(names)) > 30
    assert all(operation["summary"] for path in paths.values() for operation in path.values())


def test_a_family_that_describes_nothing_is_in_it_all_the_same(client: FlaskClient) -> None:
    found = client.get("/openapi.json").json
    OpenAPIV31SpecValidator(found).validate()
    assert found["paths"]["/echo/{id}"]["get"]["summary"] == "GET /echo/{id}"
    assert "stub" in [tag["name"] for tag in found["tags"]]


def test_paths_lie_under_the_context_path(serve: Any) -> None:
    found = serve(serving__api__context_path="/shop").client.get("/shop/openapi.json").json
    assert found["servers"] == [{"url": "/shop"}]


def test_roles_and_ways_to_log_in_are_told_where_that_is_asked_for(tmp_path: Path) -> None:
    app = app_of("als")
    plain, guarded = (
        document(app, Api.model_validate({"auth": {"file": file}}))
        for file in (None, tmp_path / "users.json")
    )
    assert "securitySchemes" not in plain["components"]
    assert set(guarded["components"]["securitySchemes"]) == {"bearer", "digest"}
    OpenAPIV31SpecValidator(guarded).validate()
    paths = guarded["paths"]
    assert paths["/livez"]["get"]["security"] == []
    assert paths["/v1/recommend"]["post"]["security"] == [
        {"bearer": ["read"]},
        {"digest": ["read"]},
    ]
    assert paths["/v1/events"]["post"]["security"][0] == {"bearer": ["ingest"]}
    names = [parameter["name"] for parameter in paths["/v1/events"]["post"]["parameters"]]
    assert names == ["Idempotency-Key"]


def test_requests_and_replies_refer_to_models() -> None:
    found = document(app_of("als"), Api())
    operation = found["paths"]["/v1/recommend"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/RecommendBatch"}
    model = found["components"]["schemas"]["RecommendBatch"]
    assert model["properties"]["users"]["maxItems"] == 1000
    reply = operation["responses"]["404"]
    assert reply == {"$ref": "#/components/responses/Problem404"}
    assert found["paths"]["/recommend/{user}"]["get"]["responses"]["404"] == {
        "$ref": "#/components/responses/Error404"
    }


def test_the_page_for_it_brings_all_its_files(client: FlaskClient) -> None:
    page = client.get("/docs")
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert page.text.count("<script") == page.text.count("<script src=") == 2
    for name in ("swagger-ui.css", "swagger-ui-bundle.js", "docs.js", "docs.css"):
        assert f'"/docs/{name}"' in page.text
        assert len(client.get(f"/docs/{name}").data) > 50
    assert client.get("/docs/swagger-ui.js").status_code == 404
