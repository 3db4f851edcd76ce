"""The application around a stub family, in a test client and behind the real server."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from common.broker import Producer
from common.broker.memory import MemoryBroker
from common.config import Settings
from common.runtime.configuration import load
from serving_layer.run.app import create_app
from serving_layer.transport.bridge import Limits
from tests.serving_layer import held
from tests.serving_layer.held import input_topic
from tests.serving_layer.running import Running


@pytest.fixture(scope="session")
def stub() -> ModuleType:
    """The stub family's module, importable as ``stub_family``."""
    loader = SourceFileLoader("stub_family", str(Path(__file__).parent / "stub_family.py"))
    spec = spec_from_loader("stub_family", loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules["stub_family"] = module
    loader.exec_module(module)
    return module


@dataclass
class Served:
    """An application with what it was made of."""

    settings: Settings
    current: Any
    broker: MemoryBroker
    app: Flask

    @property
    def client(self) -> FlaskClient:
        return self.app.test_client()

    def sent(self) -> list[tuple[str, str]]:
        """Keys and values on the input topic."""
        return held.sent(self.broker)


@pytest.fixture
def broker() -> MemoryBroker:
    return input_topic()


@pytest.fixture
def serve(stub: ModuleType) -> Callable[..., Served]:
    """Make an application; keyword arguments are settings, their dots written as ``__``.

    `through` makes the producer that it gets of that of the topic in memory.
    """

    def make(through: Callable[[Producer], Any] = lambda made: made, **flags: Any) -> Served:
        dotted = {name.replace("__", "."): value for name, value in flags.items()}
        settings = load(flags={"app": "stub_family", **dotted}, environment={})
        broker = input_topic()
        current = stub.FixedModel(stub.Serving(settings))
        producer = None if settings.serving.api.read_only else through(broker.producer())
        app = create_app(settings, current, producer)
        return Served(settings, current, broker, app)

    return make


@pytest.fixture
def served(serve: Callable[..., Served]) -> Served:
    return serve()


@pytest.fixture
def client(served: Served) -> FlaskClient:
    return served.client


@pytest.fixture
def run() -> Iterator[Callable[..., Running]]:
    """Start servers; they stop with the test."""
    started: list[Running] = []

    def start(app: Flask, **changes: Any) -> Running:
        limits: dict[str, Any] = {
            "threads": 4,
            "body_bytes": 100_000,
            "waiting": 64,
            "held_bytes": 400_000,
            "body_seconds": 30.0,
        }
        started.append(Running(app, Limits(**{**limits, **changes})))
        return started[-1]

    yield start
    for running in started:
        running.close()
