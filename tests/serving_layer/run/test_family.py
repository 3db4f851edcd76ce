"""What the framework makes of a family that leaves out what it may leave out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest
from flask import Blueprint, Flask, Response

from common.api import InputLines, Read
from common.config import ConfigError, Settings
from common.replica.updates import ModelMessage
from common.runtime.configuration import load
from common.wire.messages import MessageError
from serving_layer.api import NoPmmlError, ServingModel
from serving_layer.routes import model, respond_value
from serving_layer.run.app import create_app
from serving_layer.run.family import serving_family
from tests.serving_layer.held import Held


class Lines(InputLines):
    def read(self, lines: pa.StringArray) -> Read:
        return Read(pa.record_batch({"line": lines}), pa.nulls(len(lines), pa.string()))


class Serving(ServingModel):
    """A class that has only what it must have."""

    fraction_loaded = 1.0

    def __init__(self, settings: Settings) -> None:
        self.app = settings.app
        self.updates: list[str] = []

    def load(self, model: ModelMessage) -> None: ...

    def apply(self, update: str) -> None:
        if update == "bad":
            raise MessageError(update)
        self.updates.append(update)


class WithAll(Serving):
    def apply_many(self, updates: Sequence[str]) -> list[MessageError]:
        return [MessageError("all at once")]

    def apply_many_foreign(self, updates: Sequence[str]) -> list[MessageError]:
        return [MessageError("all of theirs")]

    def to_pmml(self) -> bytes:
        return b"<PMML/>"


def blueprint(settings: Settings) -> Blueprint:
    routes = Blueprint("least", __name__)

    @routes.get("/app")
    def app() -> Response:
        return respond_value(model(Serving).app)

    return routes


@pytest.fixture
def family(monkeypatch: pytest.MonkeyPatch) -> Any:
    module: Any = ModuleType("least_family")
    module.__spec__ = ModuleSpec("least_family", None)
    module.Lines, module.Serving, module.blueprint = Lines, Serving, blueprint
    monkeypatch.setitem(sys.modules, "least_family", module)
    return module


@pytest.fixture
def settings(family: Any) -> Settings:
    return load(flags={"app": "least_family"}, environment={})


def application(settings: Settings) -> Flask:
    return create_app(settings, Held(serving_family(settings).new_model(settings)), None)


def test_a_family_may_have_neither_console_nor_resources(settings: Settings) -> None:
    client = application(settings).test_client()
    assert client.get("/app").text == "least_family"
    page = client.get("/")
    assert page.status_code == 200
    assert page.text.count("<form ") == 0
    paths = client.get("/openapi.json").json["paths"]
    assert "/app" in paths
    assert [path for path in paths if path.startswith("/v1")] == []


def test_a_model_without_pmml_is_404(settings: Settings) -> None:
    reply = application(settings).test_client().get("/model.pmml")
    assert reply.status_code == 404
    error = reply.json["error"]
    assert error["code"] == "no_pmml"
    assert error["message"] == "a model of this family has no PMML form"


def test_a_family_may_say_itself_why_there_is_no_pmml(family: Any, settings: Settings) -> None:
    class Says(Serving):
        def to_pmml(self) -> bytes:
            message = "only trees have PMML"
            raise NoPmmlError(message)

    family.Serving = Says
    reply = application(settings).test_client().get("/model.pmml", headers={"Accept": "text/plain"})
    assert (reply.status_code, reply.text) == (404, "only trees have PMML\n")


def test_updates_are_applied_one_by_one_and_the_bad_ones_returned(settings: Settings) -> None:
    made: Any = serving_family(settings).new_model(settings)
    assert isinstance(made, Serving)
    assert [str(error) for error in made.apply_many(["a", "bad", "b"])] == ["bad"]
    assert [str(error) for error in made.apply_many_foreign(["c", "bad"])] == ["bad"]
    assert made.updates == ["a", "b", "c"]


def test_what_a_family_has_is_used_as_it_is(family: Any, settings: Settings) -> None:
    family.Serving = WithAll
    assert serving_family(settings).new_model is WithAll
    made = serving_family(settings).new_model(settings)
    assert [str(error) for error in made.apply_many(["a"])] == ["all at once"]
    assert [str(error) for error in made.apply_many_foreign(["a"])] == ["all of theirs"]
    assert application(settings).test_client().get("/model.pmml").data == b"<PMML/>"


def test_a_serving_that_is_no_class_is_refused(family: Any, settings: Settings) -> None:
    family.Serving = lambda settings: WithAll(settings)
    with pytest.raises(ConfigError, match="Serving must be a class"):
        serving_family(settings)


def test_a_serving_that_does_not_derive_is_told_all_that_it_lacks(
    family: Any, settings: Settings
) -> None:
    class Alone:
        def load(self, model: ModelMessage) -> None: ...

        def apply(self, update: str) -> None: ...

    family.Serving = Alone
    lacks = (
        r"least_family\.Serving lacks apply_many, apply_many_foreign, to_pmml; "
        r"derive from serving_layer\.api\.ServingModel"
    )
    with pytest.raises(ConfigError, match=lacks):
        serving_family(settings)


def test_a_serving_that_derives_may_not_leave_out_the_rest(family: Any, settings: Settings) -> None:
    class Half(ServingModel):
        def load(self, model: ModelMessage) -> None: ...

    family.Serving = Half
    with pytest.raises(ConfigError, match=r"lacks apply, fraction_loaded; derive from"):
        serving_family(settings)


def test_a_serving_that_does_not_derive_may_have_all(family: Any, settings: Settings) -> None:
    class Whole:
        load = apply = apply_many = apply_many_foreign = to_pmml = Serving.load

    family.Serving = Whole
    assert serving_family(settings).new_model is Whole
