"""Stalled clients hold a connection each and nothing else."""

from __future__ import annotations

import pytest

from tests.serving_layer.bad_input.conftest import AlsServer
from tests.serving_layer.bad_input.requests import get
from tests.serving_layer.bad_input.stalled import BEGINNINGS, stalled


@pytest.mark.parametrize("name", BEGINNINGS)
def test_s19_forty_stalled_clients_leave_the_server_answering(
    als_server: AlsServer, name: str
) -> None:
    running = als_server.running
    with stalled(running.host, running.port, BEGINNINGS[name]):
        for _ in range(5):
            assert als_server.send(get("/readyz"))[0] == 200
    assert als_server.arrived() == []
    als_server.assert_answers()
