"""Probes of health are answered while no thread is free for anything else."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest


@pytest.mark.parametrize("probe", ["/livez", "/ready", "/readyz"])
def test_a_probe_needs_no_thread(served: Any, run: Callable[..., Any], probe: str) -> None:
    server = run(served.app, threads=1, waiting=0)
    address = f"http://{server.host}:{server.port}"
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(httpx.get, f"{address}/slow/1", timeout=60)
        deadline = time.monotonic() + 30
        while server.server.in_flight == 0 and not slow.done():
            assert time.monotonic() < deadline
        assert httpx.get(f"{address}{probe}", timeout=60).status_code == 200
        assert slow.result().status_code == 200


def test_a_probe_is_checked_like_any_request(served: Any, run: Callable[..., Any]) -> None:
    server = run(served.app)
    two_hosts = b"GET /ready HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n"
    status, _ = server.exchange(two_hosts)
    assert status == 400
