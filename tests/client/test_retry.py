"""When requests are sent again."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from gemsbok_client import ApiError, Client, Event, IngestError, Retry, UnreachableError
from gemsbok_client.retry import REPEAT, RetryingTransport, retry_after

Answer = httpx.Response | type[httpx.TransportError]


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"code": code}, headers=headers)


class Script(httpx.BaseTransport):
    """Answers as it is told, in turn; the last answer stays."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, httpx.Response):
            return answer
        reason = "broken"
        raise answer(reason)


OK = httpx.Response(200, json={"version": "1", "accepted": 1, "results": []})
FAST = Retry(attempts=3, first=0.001, longest=0.01)


def client(script: Script) -> Client:
    return Client("http://server", transport=script, retry=FAST)


@pytest.mark.parametrize(
    "fault",
    [
        problem(429, "too_many"),
        problem(502, "bad_gateway"),
        problem(503, "model_not_ready"),
        problem(504, "gateway_timeout"),
        httpx.ReadTimeout,
        httpx.ConnectError,
        httpx.RemoteProtocolError,
    ],
)
def test_queries_are_sent_again(fault: Any) -> None:
    script = Script(fault, fault, OK)
    assert client(script).version() == "1"
    assert len(script.requests) == 3


def test_batch_queries_are_posts_and_sent_again_all_the_same() -> None:
    script = Script(httpx.ReadError, OK)
    assert list(client(script).recommend_many(["a"])) == []
    assert len(script.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 413, 500])
def test_what_will_not_pass_is_not_sent_again(status: int) -> None:
    script = Script(problem(status, "no"))
    with pytest.raises(ApiError, match=str(status)):
        client(script).version()
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("fault", "times", "unknown"),
    [
        (problem(429, "too_many"), 3, False),
        (problem(503, "overloaded"), 3, False),
        (problem(503, "broker_unavailable"), 3, False),
        (httpx.ConnectError, 3, False),
        (problem(503, "outcome_unknown"), 1, True),
        (problem(502, "unknown"), 1, True),
        (problem(500, "internal"), 1, True),
        (problem(400, "schema"), 1, False),
        (httpx.ReadTimeout, 1, True),
        (httpx.RemoteProtocolError, 1, True),
    ],
)
def test_events_are_sent_again_only_if_none_was_written(
    fault: Any, times: int, unknown: bool
) -> None:
    script = Script(fault)
    with pytest.raises(IngestError) as caught:
        client(script).ingest([Event("a", "b")])
    assert len(script.requests) == times
    assert caught.value.outcome_unknown is unknown
    assert caught.value.acknowledged == 0


def test_the_body_is_whole_each_time() -> None:
    script = Script(problem(503, "overloaded"), OK)
    assert client(script).ingest([Event("a", "b")]) == 1
    first, second = script.requests
    assert first.content == second.content != b""


def test_attempts_end() -> None:
    script = Script(httpx.ReadTimeout)
    with pytest.raises(UnreachableError):
        client(script).version()
    assert len(script.requests) == 3


def sent_with(script: Script, retry: Retry, draw: Callable[[], float]) -> list[float]:
    waits: list[float] = []
    transport = RetryingTransport(script, retry, waits.append, draw)
    transport.handle_request(httpx.Request("GET", "http://server/"))
    return waits


def test_waits_double_up_to_the_longest_and_are_drawn() -> None:
    faults = [problem(503, "x")] * 5
    retry = Retry(attempts=6, first=1.0, longest=5.0)
    assert sent_with(Script(*faults, OK), retry, lambda: 1.0) == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert sent_with(Script(*faults, OK), retry, lambda: 0.5) == [0.5, 1.0, 2.0, 2.5, 2.5]


def test_retry_after_is_a_lower_bound_and_may_be_too_far_away() -> None:
    retry = Retry(attempts=2, first=1.0, longest=10.0)
    asked = {"Retry-After": "4"}
    assert sent_with(Script(problem(503, "x", **asked), OK), retry, lambda: 0.5) == [4.5]
    far = {"Retry-After": "11"}
    assert sent_with(Script(problem(503, "x", **far)), retry, lambda: 0.5) == []


def test_retry_after_may_be_a_date() -> None:
    later = datetime.fromtimestamp(int(time.time()) + 30, timezone.utc)
    headers = {"Retry-After": format_datetime(later, usegmt=True)}
    now = (later - timedelta(seconds=12)).timestamp()
    assert retry_after(httpx.Response(503, headers=headers), lambda: now) == 12.0
    assert retry_after(httpx.Response(503, headers={"Retry-After": "soon"})) == 0.0


def test_a_request_may_ask_not_to_be_sent_again() -> None:
    script = Script(problem(503, "x"), OK)
    transport = RetryingTransport(script, FAST)
    request = httpx.Request("GET", "http://server/", extensions={REPEAT: False})
    assert transport.handle_request(request).status_code == 503


def test_a_token_and_a_digest_are_sent() -> None:
    script = Script(OK)
    Client("http://server/shop/", transport=script, token="t0").version()
    assert script.requests[0].headers["Authorization"] == "Bearer t0"
    assert script.requests[0].url.path == "/shop/version"
    challenge = 'Digest realm="r", nonce="n", algorithm=SHA-256, qop="auth"'
    script = Script(httpx.Response(401, headers={"WWW-Authenticate": challenge}), OK)
    Client("http://server", transport=script, digest=("ann", "secret")).version()
    given = script.requests[1].headers["Authorization"]
    assert given.startswith('Digest username="ann"')
    assert "SHA-256" in given
