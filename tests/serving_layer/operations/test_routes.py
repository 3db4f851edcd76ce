"""Health, metrics, PMML and the console."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

import common
from serving_layer.api import Form


@pytest.mark.parametrize("path", ["/ready", "/livez"])
def test_ready_is_200_and_empty(client: FlaskClient, path: str) -> None:
    for reply in (client.get(path), client.head(path)):
        assert (reply.status_code, reply.data) == (200, b"")


def test_readyz_says_what_is_loaded_and_what_is_missing(served: Any) -> None:
    expected = {"ready": True, "missing": None, "fraction_loaded": 1.0, "generation": 7}
    assert served.client.get("/readyz").json == expected
    served.current.model.fraction_loaded = 0.25
    reply = served.client.get("/readyz")
    assert reply.status_code == 503
    assert reply.headers["Retry-After"] == "5"
    missing = "25% of the model is loaded, 80% is needed"
    assert reply.json == {**expected, "ready": False, "missing": missing, "fraction_loaded": 0.25}
    served.current.model = None
    assert served.client.get("/readyz").json["fraction_loaded"] == 0.0


def test_the_version_is_told(client: FlaskClient) -> None:
    reply = client.get("/version").json
    assert reply["version"] == common.__version__
    assert reply["app"] == "stub_family"


def test_ready_says_why_not(served: Any) -> None:
    served.current.model = None
    served.current.missing = "no connection to the broker"
    reply = served.client.get("/ready")
    assert reply.status_code == 503
    assert reply.json["error"]["message"] == "no connection to the broker"
    assert served.client.head("/ready").status_code == 503
    assert served.client.get("/livez").status_code == 200


def test_a3_a_model_that_is_not_whole_is_served_and_not_ready(served: Any) -> None:
    told = "incomplete: 7 updates of generation 7 are gone"
    served.current.status = lambda: {"missing": None, "incomplete": told, "unready": told}
    reply = served.client.get("/ready")
    assert (reply.status_code, reply.json["error"]["message"]) == (503, told)
    assert served.client.get("/livez").status_code == 200
    assert served.client.get("/name").status_code == 200
    assert "gemsbok_model_incomplete 1.0" in served.client.get("/metrics").text


def test_how_long_the_speed_layer_has_been_silent_is_a_metric(served: Any) -> None:
    served.current.status = lambda: {"missing": None, "fed_seconds_ago": 61.5}
    assert "gemsbok_model_progress_age_seconds 61.5" in served.client.get("/metrics").text
    assert served.client.get("/ready").status_code == 200


def test_a2_a_process_that_cannot_go_on_says_so(served: Any) -> None:
    told = "the model is kept up to date no more"
    served.current.status = lambda: {"missing": told, "unready": told, "ended": told}
    for path in ("/livez", "/ready"):
        reply = served.client.get(path)
        assert (reply.status_code, reply.json["error"]["message"]) == (503, told)


def test_a_process_that_stops_is_not_ready_but_answers(served: Any) -> None:
    served.app.extensions["gemsbok"].draining.set()
    reply = served.client.get("/ready")
    assert reply.status_code == 503
    assert "stopping" in reply.json["error"]["message"]
    assert served.client.get("/name").status_code == 200


def test_status_shows_what_is_served(served: Any) -> None:
    assert served.client.get("/status").json == {
        "app": "stub_family",
        "ready": True,
        "not_ready_because": None,
        "generation": 7,
        "model_age_seconds": 12.5,
        "model": {"missing": None, "counts": {"updates": 3}},
    }


def test_metrics_count_requests_and_show_the_model(client: FlaskClient) -> None:
    for _ in range(3):
        client.get("/echo/a")
    client.get("/nothing")
    text = client.get("/metrics").text
    for line in (
        'gemsbok_http_requests_total{method="GET",route="/echo/<id>",status="200"} 3.0',
        'gemsbok_http_requests_total{method="GET",route="none",status="404"} 1.0',
        'gemsbok_http_request_seconds_count{route="/echo/<id>"} 3.0',
        "gemsbok_model_loaded_ratio 1.0",
        "gemsbok_model_generation 7.0",
        "gemsbok_model_age_seconds 12.5",
        'gemsbok_update_topic_total{what="updates"} 3.0',
    ):
        assert line in text
    names = re.findall(r"^(\w+)", text, re.MULTILINE)
    assert len(names) > 20
    assert {name.partition("_")[0] for name in names} == {"gemsbok"}


def test_pmml_plain_pretty_and_compressed(client: FlaskClient) -> None:
    plain = client.get("/model.pmml")
    assert plain.mimetype == "application/xml"
    assert plain.data.startswith(b"<PMML><Header/>")
    pretty = client.get("/model.pmml?pretty=true")
    assert b"<PMML>\n  <Header/>\n" in pretty.data
    packed = client.get("/model.pmml", headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(packed.data) == plain.data


@pytest.mark.parametrize("path", ["/", "/index.html"])
def test_the_console_has_a_row_for_each_endpoint(client: FlaskClient, path: str) -> None:
    reply = client.get(path)
    assert reply.headers["Cache-Control"] == "public"
    assert reply.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert "script-src 'self'" in reply.headers["Content-Security-Policy"]
    page = reply.text
    assert page.startswith("<!DOCTYPE html>")
    assert "<title>Gemsbok: stub_family</title>" in page
    assert page.count("<form ") == 2
    assert "GET /echo/{id}" in page
    assert page.count('type="file"') == 1
    assert "<script>" not in page


def test_the_console_brings_its_own_files_and_no_others(client: FlaskClient) -> None:
    page = client.get("/").text
    files = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert files == ["/console/console.css", "/console/console.js", "/docs"]
    for file in files:
        assert client.get(file).status_code == 200
    assert client.get("/console/..%2F__init__.py").status_code == 404


def test_the_demo_shows_its_picture_when_it_has_one(
    serve: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMSBOK_HOME", str(tmp_path))
    demo = serve(id="demo").client
    assert demo.get("/demo/freshness.png").status_code == 404
    assert "freshness.png" not in demo.get("/").text
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "freshness.png").write_bytes(b"\x89PNG picture")
    assert demo.get("/demo/freshness.png").data == b"\x89PNG picture"
    assert "/demo/freshness.png" in demo.get("/").text


def test_other_serving_layers_do_not_show_the_picture_of_the_demo(
    client: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMSBOK_HOME", str(tmp_path))
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "freshness.png").write_bytes(b"\x89PNG picture")
    assert client.get("/demo/freshness.png").status_code == 404
    assert "freshness.png" not in client.get("/").text


def test_a_form_knows_the_fields_of_its_path() -> None:
    assert Form("x", "/a/{user}/{item=value}").fields == ["user", "item=value"]
