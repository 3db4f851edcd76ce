"""The real server around the small ALS model, for the client to ask."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from gemsbok_client import Client, Retry

from tests.serving_layer.apps.als import fixture as als_fixture
from tests.serving_layer.conftest import run  # noqa: F401

QUICK = Retry(attempts=3, first=0.001, longest=0.01)


@dataclass
class Live:
    """A running server and what it was made of."""

    url: str
    served: als_fixture.Served

    def client(self, **options: Any) -> Client:
        return Client(self.url, **{"retry": QUICK, "timeout": 60.0, **options})

    def add(self, kind: str, id: str, vector: list[float], *known: str) -> None:
        """Give the model a user or an item."""
        self.served.model.apply(json.dumps([kind, id, vector, list(known)][: 3 + bool(known)]))


@pytest.fixture
def live(tmp_path: Path, run: Callable[..., Any]) -> Live:  # noqa: F811
    served = als_fixture.serve(als_fixture.from_files(tmp_path))
    running = run(served.app)
    return Live(f"http://{running.host}:{running.port}", served)


@pytest.fixture
def client(live: Live) -> Iterator[Client]:
    with live.client() as found:
        yield found
