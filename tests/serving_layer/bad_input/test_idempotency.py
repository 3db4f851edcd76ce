"""A write that is sent again under its key."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from common.broker import BrokerError
from serving_layer.access.shared_ttl_table import SET_SLOTS, SLOTS_PER_RECORD
from serving_layer.request.idempotency import KEEP_SECONDS, Writes
from tests.serving_layer.bad_input.conftest import AlsServer
from tests.serving_layer.bad_input.requests import post
from tests.stand_in import StandIn


def write(server: AlsServer, key: str, body: bytes = b"u,i,1,7\n", target: str = "/ingest") -> Any:
    status, reply = server.send(post(body, "text/csv", target, f"Idempotency-Key: {key}"))
    return status, json.loads(reply)["error"]["code"] if reply else None


def test_b38_the_same_write_again_is_answered_and_not_written(als_server: AlsServer) -> None:
    assert write(als_server, "same-1") == (204, None)
    assert len(als_server.arrived()) == 1
    assert write(als_server, "same-1") == (204, None)
    assert als_server.arrived() == []
    assert write(als_server, "same-2") == (204, None)
    assert len(als_server.arrived()) == 1


def test_b38_without_a_timestamp_too(als_server: AlsServer) -> None:
    for _ in range(2):
        assert write(als_server, "now", b"u,i") == (204, None)
    assert len(als_server.arrived()) == 1


def test_b38_another_body_under_the_same_key_is_a_conflict(als_server: AlsServer) -> None:
    assert write(als_server, "other") == (204, None)
    assert write(als_server, "other", b"u,i,2,7\n") == (409, "idempotency_conflict")
    assert write(als_server, "other", b"1", "/pref/u/i") == (409, "idempotency_conflict")
    assert len(als_server.arrived()) == 1
    als_server.assert_answers()


def test_b38_what_was_refused_may_be_sent_again(als_server: AlsServer) -> None:
    assert write(als_server, "refused", b"u")[0] == 400
    als_server.served.broker.fail_next_flush = BrokerError("gone", retriable=True)
    assert write(als_server, "refused") == (503, "broker_unavailable")
    als_server.arrived()
    assert write(als_server, "refused") == (204, None)
    assert len(als_server.arrived()) == 1


def test_b38_what_may_have_been_written_is_not_written_again(als_server: AlsServer) -> None:
    als_server.served.broker.fail_next_flush = BrokerError("late", outcome_unknown=True)
    assert write(als_server, "unknown") == (503, "outcome_unknown")
    als_server.arrived()
    assert write(als_server, "unknown") == (503, "outcome_unknown")
    assert als_server.arrived() == []


@pytest.mark.parametrize("key", ["a b", "k" * 256])
def test_b38_a_key_that_is_none(als_server: AlsServer, key: str) -> None:
    assert write(als_server, key) == (400, "bad_idempotency_key")
    assert als_server.arrived() == []


def test_b38_two_at_once_are_written_once(
    als_serving: Callable[..., AlsServer],
) -> None:
    entered, go_on = threading.Event(), threading.Event()

    class Slow(StandIn):
        def send_all(self, *given: Any) -> int:
            entered.set()
            assert go_on.wait(30)
            found: int = self.other.send_all(*given)
            return found

    server = als_serving(through=Slow)
    first: list[Any] = []
    thread = threading.Thread(target=lambda: first.append(write(server, "twice")))
    thread.start()
    assert entered.wait(30)
    assert write(server, "twice") == (409, "in_progress")
    go_on.set()
    thread.join(30)
    assert first == [(204, None)]
    assert write(server, "twice") == (204, None)
    assert len(server.arrived()) == 1


def test_keys_are_forgotten_after_a_time_and_beyond_a_number(
    als_serving: Callable[..., AlsServer],
) -> None:
    now = [0.0]
    writes, done = Writes(lambda: now[0], SET_SLOTS // SLOTS_PER_RECORD), []
    app = als_serving().served.app

    def once(key: str) -> bool:
        with app.test_request_context(headers={"Idempotency-Key": key}):
            return writes.once(lambda: done.append(key))

    assert [once(key) for key in ("a", "a")] == [False, True]
    now[0] = 1.0
    others = [f"b{number}" for number in range(SET_SLOTS)]
    assert [once(key) for key in others] == [False] * SET_SLOTS
    assert [once(key) for key in (others[-1], "a")] == [True, False]
    now[0] = 1.0 + KEEP_SECONDS
    assert [once(key) for key in ("a", "a")] == [False, True]
    assert done == ["a", *others, "a", "a"]


DIES = """
import multiprocessing, os
from flask import Flask
from serving_layer.http.errors import ApiError
from serving_layer.request.idempotency import Writes
writes = Writes()
def send(key, write):
    with Flask("x").test_request_context(headers={"Idempotency-Key": key}):
        return writes.once(write)
work = multiprocessing.get_context("fork").Process
for key, write in (("dies", lambda: os._exit(1)), ("ends", lambda: None)):
    worker = work(target=send, args=(key, write))
    worker.start()
    worker.join()
    try:
        print(send(key, lambda: print("written twice")))
    except ApiError as error:
        print(error.code, error.error_code)
"""


def test_what_a_worker_has_begun_and_not_ended_is_not_written_again() -> None:
    done = subprocess.run([sys.executable, "-c", DIES], capture_output=True, text=True)
    assert (done.stdout.splitlines(), done.stderr) == (["503 outcome_unknown", "True"], "")


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/ingest", b"u,i", "text/csv"),
        ("/v1/events", b'{"events": [{"user": "u", "item": "i"}]}', "application/json"),
    ],
)
def test_a_repetition_is_told(als_server: AlsServer, path: str, body: bytes, kind: str) -> None:
    headers = {"Content-Type": kind, "Idempotency-Key": f"told{path}"}
    url = f"http://{als_server.running.host}:{als_server.running.port}{path}"
    first, second = (httpx.post(url, content=body, headers=headers, timeout=30) for _ in range(2))
    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert first.is_success
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    assert len(als_server.arrived()) == 1
