"""The ALS application behind the real server, with a topic in memory that can be counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from common.base.lines import parse_line
from serving_layer.transport.bridge import Limits
from tests.serving_layer.apps.als.fixture import Served, from_files, serve
from tests.serving_layer.bad_input.requests import BODY_LIMIT, get, post
from tests.serving_layer.running import Running

LIMITS = Limits(4, BODY_LIMIT, waiting=64, held_bytes=4 * BODY_LIMIT, body_seconds=30.0)


class AlsServer:
    """The server, and what its requests have put on the input topic."""

    def __init__(self, served: Served, running: Running) -> None:
        self.served = served
        self.running = running
        self._seen = len(served.sent())

    def send(self, data: bytes, half_close: bool = False) -> tuple[int, bytes]:
        """Send a request as it is; status and body of the reply."""
        return self.running.exchange(data, half_close)

    def arrived(self) -> list[list[str]]:
        """Tokens of the lines that came to the input topic since the last call."""
        lines = [value for _, value in self.served.sent()]
        new, self._seen = lines[self._seen :], len(lines)
        return [parse_line(line) for line in new]

    def assert_answers(self) -> None:
        """Assert that the next valid requests succeed as if nothing had been."""
        assert self.send(get("/recommend/U0"))[0] == 200
        assert self.send(post(b"next,item,2,1000\n")) == (204, b"")
        assert self.arrived() == [["next", "item", "2.0", "1000"]]


@contextmanager
def serving(folder: Path, limits: Limits = LIMITS, **flags: Any) -> Iterator[AlsServer]:
    """Serve ALS within these limits and with these settings."""
    always = {"serving__api__max_body_bytes": BODY_LIMIT}
    served = serve(from_files(folder), **{**always, **flags})
    running = Running(served.app, limits)
    try:
        yield AlsServer(served, running)
    finally:
        running.close()


@pytest.fixture(scope="session")
def als_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AlsServer]:
    """One server for all tests that leave it as it was."""
    with serving(tmp_path_factory.mktemp("als")) as server:
        yield server


@pytest.fixture
def als_serving(tmp_path: Path) -> Iterator[Callable[..., AlsServer]]:
    """Start servers with limits and settings of their own; they stop with the test."""
    with ExitStack() as stack:
        yield lambda **given: stack.enter_context(serving(tmp_path, **given))
